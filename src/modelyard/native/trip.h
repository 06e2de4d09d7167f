/* One request of the lane, from its head to its answer. Whatever is not ordinary hands it over to Python, once and for all. */

#ifndef MODELYARD_TRIP_H
#define MODELYARD_TRIP_H

#include "lane.h"

typedef struct TripObject {
    PyObject_HEAD
    struct ClientObject *client;
    TrackObject *track;
    LineObject *line;
    PyObject *replica;
    PyObject *data;       /* bytes: the request as it came, its body from `body` on */
    Py_ssize_t body;
    uint64_t number;      /* On its line. */
    uint64_t request;     /* Of its id. */
    double deadline, sent_at;
    struct TripObject *before, *after;
    PyObject *invocation; /* Whom it was handed over to. */
    char is_in_flight;
} TripObject;

extern PyTypeObject Trip_Type;

#define Trip_Check(object) Py_IS_TYPE(object, &Trip_Type)

/* Send a request, which `arrived` at that time of the lane's clock, on its way: 0, or -1 with an exception. */
int trip_start(struct ClientObject *client, TrackObject *track, Py_ssize_t place, PyObject *data, Py_ssize_t body,
               double arrived);
/* Its answer came: None if the client has it, else (a new reference) whom Python is to tell of it; NULL with an exception. */
PyObject *trip_answered(PyObject *trip, const FrameView *answer);
/* From here on it is Python's: the invocation (a new reference), or NULL with an exception. */
PyObject *trip_hand_over(PyObject *trip);
/* Whom it was handed over to, or None. A new reference. */
PyObject *trip_invocation(PyObject *trip);
int trip_add(PyObject *module);

#endif
