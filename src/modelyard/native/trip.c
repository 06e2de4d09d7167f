/* One request of the lane: sent, answered, counted; or handed over to Python with all that is known of it. */

#include "trip.h"

#include <structmember.h>

#include "client.h"

enum { OK = 200, ID_SIZE = 36 };

static PyObject *name_trip_over;

/* ---- in flight ---- */

static void
link_trip(TripObject *self)
{
    LaneObject *lane = self->track->lane;
    self->before = lane->last;
    if (lane->last != NULL) {
        lane->last->after = self;
    }
    else {
        lane->first = self;
    }
    lane->last = self;
    lane->in_flight++;
    lane->held += PyBytes_GET_SIZE(self->data) - self->body;
    self->track->port->trips++;
    self->line->trips++;
    self->client->trip = self;
    self->client->was_active = 1;
    self->is_in_flight = 1;
}

/* It is over, or another's: nothing counts it any more. What it refers to stays until it goes itself. */
static void
unlink_trip(TripObject *self)
{
    LaneObject *lane = self->track->lane;
    *(self->before != NULL ? &self->before->after : &lane->first) = self->after;
    *(self->after != NULL ? &self->after->before : &lane->last) = self->before;
    self->before = self->after = NULL;
    lane->in_flight--;
    lane->held -= PyBytes_GET_SIZE(self->data) - self->body;
    self->track->port->trips--;
    self->line->trips--;
    self->client->trip = NULL;
    self->is_in_flight = 0;
}

static int
call(PyObject *callable)
{
    PyObject *done = PyObject_CallNoArgs(callable);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

int
trip_start(struct ClientObject *client, TrackObject *track, Py_ssize_t place, PyObject *data, Py_ssize_t body,
           double arrived)
{
    LaneObject *lane = track->lane;
    double now = lane_now(lane);
    if (now < 0.0) {
        return -1;
    }
    TripObject *self = PyObject_GC_New(TripObject, &Trip_Type);
    if (self == NULL) {
        return -1;
    }
    self->client = (ClientObject *)Py_NewRef(client);
    self->track = (TrackObject *)Py_NewRef(track);
    self->line = (LineObject *)Py_NewRef(PyTuple_GET_ITEM(track->port->lines, place));
    self->replica = Py_NewRef(PyTuple_GET_ITEM(track->port->replicas, place));
    self->data = Py_NewRef(data);
    self->body = body;
    self->number = 0;
    self->request = ++lane->next_request;
    self->deadline = arrived + lane->seconds;
    self->sent_at = now;
    self->before = self->after = NULL;
    self->invocation = NULL;
    PyObject_GC_Track((PyObject *)self);
    link_trip(self);
    self->number = line_send(self->line, (PyObject *)self, (uint32_t)(lane->seconds * 1000.0), 0,
                             PyBytes_AS_STRING(track->meta), PyBytes_GET_SIZE(track->meta),
                             PyBytes_AS_STRING(data) + body, PyBytes_GET_SIZE(data) - body);
    int failed = self->number == 0;
    if (failed && self->is_in_flight) {
        unlink_trip(self);
    }
    else if (!failed && !lane->is_watched) {
        lane->is_watched = 1;
        failed = call(lane->begin) < 0;
    }
    Py_DECREF(self);
    return failed ? -1 : 0;
}

/* ---- the answer ---- */

static void
put_id(TripObject *self, char *at)
{
    static const char digits[] = "0123456789abcdef";
    memcpy(at, self->track->lane->prefix, LANE_PREFIX);
    uint64_t left = self->request;
    for (int i = ID_SIZE - 1; i >= LANE_PREFIX; i--) {
        at[i] = digits[left & 15];
        left >>= 4;
    }
}

/* gateway/answers.py and ClientConnection.respond: the same bytes. */
static PyObject *
answer_bytes(TripObject *self, PyObject *head, const FrameView *answer)
{
    char length[48];
    int length_size = PyOS_snprintf(length, sizeof length, "\r\nContent-Length: %zd\r\n\r\n", answer->body_size);
    Py_ssize_t head_size = PyBytes_GET_SIZE(head);
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, head_size + ID_SIZE + length_size + answer->body_size);
    if (bytes == NULL) {
        return NULL;
    }
    char *at = PyBytes_AS_STRING(bytes);
    memcpy(at, PyBytes_AS_STRING(head), (size_t)head_size);
    put_id(self, at + head_size);
    at += head_size + ID_SIZE;
    memcpy(at, length, (size_t)length_size);
    memcpy(at + length_size, answer->body, (size_t)answer->body_size);
    return bytes;
}

/* Counted, told to the client; and its replica hears of the free place where somebody waits for it. */
static int
finish(TripObject *self, double now, PyObject *head, const FrameView *answer)
{
    PortObject *port = self->track->port;
    PyObject *bytes = answer_bytes(self, head, answer);
    if (bytes == NULL) {
        return -1;
    }
    unlink_trip(self);
    double arrived = self->deadline - self->track->lane->seconds;
    int failed = port_count(port, now - self->sent_at, now - arrived) < 0;
    PyObject *write = Py_XNewRef(self->client->write);
    if (!failed && write != NULL) {
        PyObject *done = PyObject_CallOneArg(write, bytes);
        failed = done == NULL;
        Py_XDECREF(done);
    }
    Py_XDECREF(write);
    Py_DECREF(bytes);
    int crowded = failed ? -1 : !port->is_open ? 1 : port_is_crowded(port);
    if (crowded > 0) {
        PyObject *done = PyObject_CallMethodNoArgs(self->replica, name_trip_over);
        Py_XDECREF(done);
        crowded = done == NULL ? -1 : 1;
    }
    return crowded < 0 ? -1 : 0;
}

PyObject *
trip_answered(PyObject *trip, const FrameView *answer)
{
    TripObject *self = (TripObject *)trip;
    if (!self->is_in_flight) {
        return trip_invocation(trip);
    }
    PyObject *head = Py_None;
    int is_plain = answer->header.number == OK && !(answer->header.flags & ~FRAME_OWN_STATUS);
    if (is_plain && answer->body_size <= self->track->lane->payload_limit) {
        head = port_head(self->track->port, answer->meta, answer->header.meta_length);
    }
    if (head == NULL) {
        return NULL;
    }
    if (head == Py_None) {
        return trip_hand_over(trip);
    }
    Py_INCREF(head);
    double now = lane_now(self->track->lane);
    int failed = now < 0.0;
    int is_mine = self->is_in_flight; /* Python was asked things, and may have taken it. */
    if (!failed && is_mine) {
        failed = finish(self, now, head, answer) < 0;
    }
    Py_DECREF(head);
    return failed ? NULL : is_mine ? Py_NewRef(Py_None) : trip_invocation(trip);
}

PyObject *
trip_hand_over(PyObject *trip)
{
    TripObject *self = (TripObject *)trip;
    if (!self->is_in_flight) {
        return trip_invocation(trip);
    }
    Py_INCREF(trip); /* Whoever takes it over may be the one that lets go of it. */
    unlink_trip(self);
    self->invocation = PyObject_CallOneArg(self->track->lane->take_over, trip);
    PyObject *invocation = Py_XNewRef(self->invocation);
    Py_DECREF(trip);
    return invocation;
}

PyObject *
trip_invocation(PyObject *trip)
{
    PyObject *invocation = ((TripObject *)trip)->invocation;
    return Py_NewRef(invocation == NULL ? Py_None : invocation);
}

/* ---- what Python asks of a trip that it takes over ---- */

static PyObject *
get_connection(TripObject *self, void *Py_UNUSED(closure))
{
    PyObject *connection = self->client->connection;
    return Py_NewRef(connection == NULL ? Py_None : connection);
}

static PyObject *
get_context(TripObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(self->track->context);
}

static PyObject *
get_body(TripObject *self, void *Py_UNUSED(closure))
{
    return PyBytes_FromStringAndSize(PyBytes_AS_STRING(self->data) + self->body, PyBytes_GET_SIZE(self->data) - self->body);
}

static PyObject *
get_request_id(TripObject *self, void *Py_UNUSED(closure))
{
    char id[ID_SIZE];
    put_id(self, id);
    return PyUnicode_FromStringAndSize(id, ID_SIZE);
}

static PyObject *
get_number(TripObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(self->number);
}

static int
trip_traverse(TripObject *self, visitproc visit, void *arg)
{
    Py_VISIT(self->client);
    Py_VISIT(self->track);
    Py_VISIT(self->line);
    Py_VISIT(self->replica);
    Py_VISIT(self->invocation);
    return 0;
}

static void
trip_dealloc(TripObject *self)
{
    PyObject_GC_UnTrack(self);
    if (self->is_in_flight) {
        unlink_trip(self); /* Its line went without a word: nobody is told. */
    }
    Py_CLEAR(self->client);
    Py_CLEAR(self->track);
    Py_CLEAR(self->line);
    Py_CLEAR(self->replica);
    Py_CLEAR(self->data);
    Py_CLEAR(self->invocation);
    PyObject_GC_Del(self);
}

static PyMemberDef trip_members[] = {
    {"replica", T_OBJECT, offsetof(TripObject, replica), READONLY, NULL},
    {"deadline", T_DOUBLE, offsetof(TripObject, deadline), READONLY, NULL},
    {"sent_at", T_DOUBLE, offsetof(TripObject, sent_at), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef trip_properties[] = {
    {"connection", (getter)get_connection, NULL, NULL, NULL},
    {"context", (getter)get_context, NULL, NULL, NULL},
    {"body", (getter)get_body, NULL, NULL, NULL},
    {"request_id", (getter)get_request_id, NULL, NULL, NULL},
    {"number", (getter)get_number, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject Trip_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "modelyard.native._native.Trip",
    .tp_basicsize = sizeof(TripObject),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = (destructor)trip_dealloc,
    .tp_traverse = (traverseproc)trip_traverse,
    .tp_members = trip_members,
    .tp_getset = trip_properties,
};

int
trip_add(PyObject *module)
{
    name_trip_over = PyUnicode_InternFromString("trip_over");
    return name_trip_over == NULL ? -1 : PyModule_AddType(module, &Trip_Type);
}
