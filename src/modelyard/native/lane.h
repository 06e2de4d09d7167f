/* What all trips of a gateway share (Lane), and what those of one head have in common (Track). */

#ifndef MODELYARD_LANE_H
#define MODELYARD_LANE_H

#include "port.h"
#include "signed.h"

enum { LANE_PREFIX = 24 }; /* Characters of a request's id that are the same for all of a gateway's. */

struct TripObject;

typedef struct {
    PyObject_HEAD
    PyObject *gate;          /* gateway.gate.Gate, which counts the bodies that Python holds. */
    PyObject *routes;        /* store.published.Published: what it has `seen` is the epoch of its table. */
    PyObject *keys;          /* () -> the newest wire.keys.KeyTable */
    PyObject *take_over;     /* (trip) -> gateway.in_flight.Invocation */
    PyObject *begin;         /* Called when something is in flight, and nobody was told. */
    PyObject *now, *wall;    /* Clocks in seconds, or None: the system's. */
    Py_buffer epoch;         /* Eight bytes that change with each new table of routes. */
    double seconds;          /* An invocation has so long. */
    Py_ssize_t payload_limit, body_limit, budget;
    char prefix[LANE_PREFIX];
    uint64_t next_request;
    Py_ssize_t held;         /* Bytes of the bodies in flight. */
    Py_ssize_t in_flight;
    struct TripObject *first, *last; /* In the order of their deadlines. */
    char is_watched;
} LaneObject;

typedef struct {
    PyObject_HEAD
    LaneObject *lane;
    PortObject *port;
    PyObject *meta;       /* bytes: the requests' meta, as a frame has it */
    PyObject *context;    /* Python's own: what it needs to take a trip over. */
    PyObject *peer;       /* str: whose head it is; of a signed one None. */
    Py_ssize_t length;    /* Of the body, where each request has the same head. */
    SignedObject *signer; /* NULL where requests are not signed. */
    PyObject *table;      /* The KeyTable that its key is in. */
} TrackObject;

extern PyTypeObject Lane_Type, Track_Type;

double lane_now(LaneObject *self);  /* Monotonic; below 0 with an exception. */
double lane_wall(LaneObject *self); /* Unix time; the same. */
int lane_is_fresh(LaneObject *self); /* Whether Python has read the newest table of routes; -1 with an exception. */
int lane_add(PyObject *module);

#endif
