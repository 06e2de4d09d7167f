/* The replicas of one variant as the lane sees them, and what it counts of their requests. */

#ifndef MODELYARD_PORT_H
#define MODELYARD_PORT_H

#include "line.h"

enum { PORT_HEADS = 4, PORT_BUCKETS = 2304 };

typedef struct {
    PyObject *meta; /* bytes: an answer's meta, as a frame has it */
    PyObject *head; /* bytes: how the answers with it begin, up to the id of the request */
} PortHead;

typedef struct {
    PyObject_HEAD
    PyObject *key;                /* Of its counters. */
    PyObject *pool;               /* Whose `_is_guarded` says that a replica may be kept for a suspect. */
    PyObject *waiting, *suspects; /* The pool's queues: who stands there goes first. */
    PyObject *replicas;           /* tuple of gateway.replica.Replica */
    PyObject *lines;              /* tuple of Line, one for each of them */
    PyObject *begin_answer;       /* (meta) -> bytes, or None: ask Python */
    Py_ssize_t limit;             /* Requests in flight of one replica. */
    Py_ssize_t trips;             /* In flight. */
    PortHead heads[PORT_HEADS];
    int next_head;
    double model_sum, overhead_sum; /* Microseconds. */
    uint32_t *counts;               /* Of model and overhead: PORT_BUCKETS each; NULL while nothing was counted. */
    char is_open;
} PortObject;

extern PyTypeObject Port_Type;

int port_is_crowded(PortObject *self);            /* -1 with an exception */
int port_choose(PortObject *self, Py_ssize_t *chosen); /* 1: place of the replica to send to; 0: none takes more; -1 */
PyObject *port_head(PortObject *self, const char *meta, Py_ssize_t size); /* Borrowed; None: ask Python; or NULL. */
int port_count(PortObject *self, double model_seconds, double seconds);
int port_add(PyObject *module);

#endif
