/* Nearly always what a client sends is one whole request whose head came before, or is like the last: a trip. All else is Python's. */

#include "client.h"

#include <structmember.h>

enum { HEAD_BYTES = 2048 }; /* gateway/http.py: KNOWN_HEAD_BYTES */

static PyObject *name_exchange, *name_mid_message, *name_is_full, *name_keep_alive, *name_form, *name_peer;
static PyObject *name_read, *name_track, *name_memo, *name_body_bytes;

/* ---- is it ordinary? 1: yes, 0: no, -1: an exception ---- */

static int
attribute_is(PyObject *object, PyObject *name, PyObject *wanted)
{
    PyObject *value = PyObject_GetAttr(object, name);
    Py_XDECREF(value);
    return value == NULL ? -1 : value == wanted;
}

/* Whether the connection stands between two requests, as `ClientConnection` has it. */
static int
is_between(PyObject *connection)
{
    int so = attribute_is(connection, name_exchange, Py_None);
    if (so > 0) {
        so = attribute_is(connection, name_mid_message, Py_False);
    }
    if (so > 0) {
        so = attribute_is(connection, name_is_full, Py_False);
    }
    if (so > 0) {
        so = attribute_is(connection, name_keep_alive, Py_True);
    }
    return so;
}

/* Bytes of the head with its empty line; 0 where there is none, or it is longer than any that is remembered. */
static Py_ssize_t
head_size(const char *bytes, Py_ssize_t size)
{
    Py_ssize_t most = size < HEAD_BYTES ? size : HEAD_BYTES;
    for (const char *at = bytes; (at = memchr(at, '\r', (size_t)(bytes + most - at))) != NULL; at++) {
        if (bytes + most - at < 4) {
            return 0;
        }
        if (memcmp(at, "\r\n\r\n", 4) == 0) {
            return at - bytes + 4;
        }
    }
    return 0;
}

/* The attribute `track` of what may have one. A new reference; NULL without an exception where it has none. */
static TrackObject *
track_of(PyObject *holder)
{
    PyObject *track = PyObject_GetAttr(holder, name_track);
    if (track == NULL) {
        if (PyErr_ExceptionMatches(PyExc_AttributeError)) {
            PyErr_Clear();
        }
        return NULL;
    }
    if (!Py_IS_TYPE(track, &Track_Type)) {
        Py_CLEAR(track);
    }
    return (TrackObject *)track;
}

/* The track of an unsigned head, by its very bytes. A new reference, or NULL with or without an exception. */
static TrackObject *
known_track(ClientObject *self, const char *bytes, Py_ssize_t size)
{
    PyObject *last = self->last_head;
    if (last != NULL && PyBytes_GET_SIZE(last) == size && memcmp(PyBytes_AS_STRING(last), bytes, (size_t)size) == 0
        && self->last_track->port->is_open) {
        return (TrackObject *)Py_NewRef(self->last_track);
    }
    PyObject *raw = PyBytes_FromStringAndSize(bytes, size);
    PyObject *head = raw == NULL ? NULL : PyDict_GetItemWithError(self->known, raw);
    PyObject *memo = head == NULL ? NULL : PyObject_GetAttr(head, name_memo);
    TrackObject *track = memo == NULL ? NULL : track_of(memo);
    Py_XDECREF(memo);
    PyObject *peer = track == NULL ? NULL : PyObject_GetAttr(self->connection, name_peer);
    int is_same = peer == NULL ? 0 : PyObject_RichCompareBool(peer, track->peer, Py_EQ);
    Py_XDECREF(peer);
    if (track != NULL && is_same > 0) {
        Py_XSETREF(self->last_head, Py_NewRef(raw));
        Py_XSETREF(self->last_track, (TrackObject *)Py_NewRef(track));
    }
    else {
        Py_CLEAR(track);
    }
    Py_XDECREF(raw);
    return track;
}

/* Whether the gateway may hold so much more. */
static int
is_affordable(LaneObject *lane, Py_ssize_t size)
{
    if (size > lane->body_limit) {
        return 0;
    }
    PyObject *others = PyObject_GetAttr(lane->gate, name_body_bytes);
    Py_ssize_t held = others == NULL ? -1 : PyLong_AsSsize_t(others);
    Py_XDECREF(others);
    if (held == -1 && PyErr_Occurred()) {
        return -1;
    }
    return size <= lane->budget - lane->held - held;
}

/* Whether the request has the length that its head says, and is signed by a key that is good now. */
static int
is_genuine(TrackObject *track, const char *bytes, Py_ssize_t head, Py_ssize_t size)
{
    if (track->signer == NULL) {
        return size - head == track->length;
    }
    PyObject *table = PyObject_CallNoArgs(track->lane->keys);
    Py_XDECREF(table); /* Whoever gave it has it still. */
    if (table == NULL && PyErr_ExceptionMatches(PyExc_Exception)) {
        PyErr_Clear(); /* Python asks for it, too, and answers its client that it cannot be had. */
        return 0;
    }
    if (table != track->table) {
        return table == NULL ? -1 : 0;
    }
    double now = lane_wall(track->lane);
    if (now < 0.0) {
        return -1;
    }
    return signed_verify(track->signer, bytes, head, bytes + head, size - head, now);
}

static int
is_passable(TrackObject *track, const char *bytes, Py_ssize_t head, Py_ssize_t size)
{
    PortObject *port = track->port;
    if (!port->is_open) {
        return 0;
    }
    int so = port_is_crowded(port);
    if (so != 0) {
        return so < 0 ? -1 : 0;
    }
    so = is_affordable(track->lane, size - head);
    return so > 0 ? is_genuine(track, bytes, head, size) : so;
}

static TrackObject *
find_track(ClientObject *self, const char *bytes, Py_ssize_t head)
{
    PyObject *form = PyObject_GetAttr(self->connection, name_form);
    TrackObject *track = NULL;
    if (form == Py_None) {
        track = known_track(self, bytes, head);
    }
    else if (form != NULL) {
        track = track_of(form);
    }
    Py_XDECREF(form);
    return track;
}

/* Send what came on its way, if it is one whole ordinary request. */
static int
take_trip(ClientObject *self, PyObject *data)
{
    double arrived = lane_now(self->lane);
    int so = arrived < 0.0 ? -1 : lane_is_fresh(self->lane);
    if (so > 0) {
        so = is_between(self->connection);
    }
    if (so <= 0) {
        return so;
    }
    const char *bytes = PyBytes_AS_STRING(data);
    Py_ssize_t size = PyBytes_GET_SIZE(data), head = head_size(bytes, size);
    if (head == 0) {
        return 0;
    }
    TrackObject *track = find_track(self, bytes, head);
    if (track == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    so = is_passable(track, bytes, head, size);
    if (so > 0) {
        Py_ssize_t place;
        so = port_choose(track->port, &place);
        if (so > 0 && trip_start(self, track, place, data, head, arrived) < 0) {
            so = -1;
        }
    }
    Py_DECREF(track);
    return so;
}

static int
hand_over(ClientObject *self)
{
    if (self->trip == NULL) {
        return 0;
    }
    PyObject *invocation = trip_hand_over((PyObject *)self->trip);
    Py_XDECREF(invocation);
    return invocation == NULL ? -1 : 0;
}

/* ---- what the connection calls ---- */

static PyObject *
data_received(ClientObject *self, PyObject *data)
{
    PyObject *connection = self->connection;
    if (connection == NULL) {
        return Py_NewRef(Py_None);
    }
    Py_INCREF(connection); /* Whatever Python is asked here may be the end of it. */
    int taken = 0;
    if (self->trip != NULL) {
        taken = hand_over(self); /* More comes before the answer has gone. */
    }
    else if (PyBytes_CheckExact(data) && self->write != NULL) {
        taken = take_trip(self, data);
    }
    PyObject *done = NULL;
    if (taken == 0) {
        done = PyObject_CallMethodOneArg(connection, name_read, data);
    }
    else if (taken > 0) {
        done = Py_NewRef(Py_None);
    }
    Py_DECREF(connection);
    return done;
}

static PyObject *
open_client(ClientObject *self, PyObject *write)
{
    Py_XSETREF(self->write, Py_NewRef(write));
    return Py_NewRef(Py_None);
}

/* A request in flight is Python's from here on. */
static PyObject *
settle(ClientObject *self, PyObject *Py_UNUSED(none))
{
    return hand_over(self) < 0 ? NULL : Py_NewRef(Py_None);
}

/* The connection is lost. */
static PyObject *
shut(ClientObject *self, PyObject *Py_UNUSED(none))
{
    int failed = hand_over(self);
    Py_CLEAR(self->write);
    Py_CLEAR(self->connection);
    Py_CLEAR(self->last_head);
    Py_CLEAR(self->last_track);
    return failed ? NULL : Py_NewRef(Py_None);
}

/* Whether there was a request, or is, since this was asked. */
static PyObject *
was_active(ClientObject *self, PyObject *Py_UNUSED(none))
{
    int was = self->was_active;
    self->was_active = self->trip != NULL;
    return PyBool_FromLong(was);
}

/* ---- the type ---- */

static PyObject *
client_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(keywords))
{
    PyObject *lane, *connection, *known;
    if (!PyArg_ParseTuple(args, "O!OO!", &Lane_Type, &lane, &connection, &PyDict_Type, &known)) {
        return NULL;
    }
    ClientObject *self = (ClientObject *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->lane = (LaneObject *)Py_NewRef(lane);
    self->connection = Py_NewRef(connection);
    self->known = Py_NewRef(known);
    return (PyObject *)self;
}

static int
client_traverse(ClientObject *self, visitproc visit, void *arg)
{
    Py_VISIT(self->lane);
    Py_VISIT(self->connection);
    Py_VISIT(self->write);
    Py_VISIT(self->known);
    Py_VISIT(self->last_track);
    return 0;
}

static int
client_clear(ClientObject *self)
{
    Py_CLEAR(self->connection);
    Py_CLEAR(self->write);
    Py_CLEAR(self->last_head);
    Py_CLEAR(self->last_track);
    return 0;
}

static void
client_dealloc(ClientObject *self)
{
    PyObject_GC_UnTrack(self);
    client_clear(self);
    Py_CLEAR(self->lane);
    Py_CLEAR(self->known);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyMethodDef client_methods[] = {
    {"data_received", (PyCFunction)data_received, METH_O, NULL},
    {"open", (PyCFunction)open_client, METH_O, NULL},
    {"settle", (PyCFunction)settle, METH_NOARGS, NULL},
    {"shut", (PyCFunction)shut, METH_NOARGS, NULL},
    {"was_active", (PyCFunction)was_active, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

PyTypeObject Client_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "modelyard.native._native.Client",
    .tp_basicsize = sizeof(ClientObject),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = client_new,
    .tp_dealloc = (destructor)client_dealloc,
    .tp_traverse = (traverseproc)client_traverse,
    .tp_clear = (inquiry)client_clear,
    .tp_methods = client_methods,
};

static int
intern(PyObject **place, const char *name)
{
    *place = PyUnicode_InternFromString(name);
    return *place == NULL ? -1 : 0;
}

int
client_add(PyObject *module)
{
    if (intern(&name_exchange, "_exchange") || intern(&name_mid_message, "_mid_message")
        || intern(&name_is_full, "_is_full") || intern(&name_keep_alive, "_keep_alive") || intern(&name_form, "_form")
        || intern(&name_peer, "_peer") || intern(&name_read, "read") || intern(&name_track, "track")
        || intern(&name_memo, "memo") || intern(&name_body_bytes, "body_bytes")) {
        return -1;
    }
    return PyModule_AddType(module, &Client_Type);
}
