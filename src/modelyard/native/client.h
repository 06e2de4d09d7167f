/* The lane's side of one client's connection: what comes is a trip, or Python's to read. */

#ifndef MODELYARD_CLIENT_H
#define MODELYARD_CLIENT_H

#include "trip.h"

typedef struct ClientObject {
    PyObject_HEAD
    LaneObject *lane;
    PyObject *connection; /* gateway.http.ClientConnection; NULL once it is lost. */
    PyObject *write;      /* Its transport's; NULL before it is made. */
    TripObject *trip;     /* In flight: there is at most one, for answers come in order. */
    PyObject *known;      /* dict: heads that came before, by their bytes */
    PyObject *last_head;  /* bytes: the last of them, and its track */
    TrackObject *last_track;
    char was_active;      /* Since it was asked. */
} ClientObject;

extern PyTypeObject Client_Type;

int client_add(PyObject *module);

#endif
