/* The frames of one connection to a worker, as its sender sees them. transport/line.py says what each method means. */

#ifndef MODELYARD_LINE_H
#define MODELYARD_LINE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "buffer.h"
#include "frames.h"

typedef struct {
    PyObject_HEAD
    PyObject *asker, *take; /* Whom answers and other frames are given to. */
    PyObject *frame_error, *decode_error;
    PyObject *pending;      /* dict: number of a request -> its tag, or its trip */
    PyObject *write, *soon; /* NULL while there is no connection. */
    Py_ssize_t trips;       /* Of `pending`, the lane's. */
    Py_ssize_t limit;       /* Bytes of a frame. */
    uint64_t next_number;
    Buffer outgoing, unfinished;
    int outgoing_frames, together; /* So many wait for each other at most. */
    unsigned opened; /* How many connections there have been: what came on one is nothing to the next. */
    char is_ready, is_flush_due;
} LineObject;

extern PyTypeObject Line_Type;

/* One frame as it lies in the bytes that came. */
typedef struct {
    FrameHeader header;
    const char *meta, *body;
    Py_ssize_t body_size;
} FrameView;

/* Send a request; its number, or 0 with an exception. `tag` is held until the answer. */
uint64_t line_send(LineObject *self, PyObject *tag, uint32_t remaining_ms, uint16_t flags, const char *meta,
                   Py_ssize_t meta_size, const char *body, Py_ssize_t body_size);

int line_add(PyObject *module);

#endif
