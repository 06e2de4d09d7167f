/* The lane of a gateway: what is ordinary of its invocations, without a step of Python's. gateway/lane.py builds it. */

#include "lane.h"

#include <structmember.h>
#include <time.h>

#include "trip.h"

static PyObject *name_seen;

static double
clock_of(PyObject *given, clockid_t own)
{
    if (given == Py_None) {
        struct timespec time;
        clock_gettime(own, &time);
        return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
    }
    PyObject *now = PyObject_CallNoArgs(given);
    double seconds = now == NULL ? -1.0 : PyFloat_AsDouble(now);
    Py_XDECREF(now);
    return seconds;
}

double
lane_now(LaneObject *self)
{
    return clock_of(self->now, CLOCK_MONOTONIC);
}

double
lane_wall(LaneObject *self)
{
    return clock_of(self->wall, CLOCK_REALTIME);
}

int
lane_is_fresh(LaneObject *self)
{
    PyObject *seen = PyObject_GetAttr(self->routes, name_seen);
    if (seen == NULL) {
        return -1;
    }
    int is_fresh = PyBytes_Check(seen) && PyBytes_GET_SIZE(seen) == self->epoch.len
                   && memcmp(PyBytes_AS_STRING(seen), self->epoch.buf, (size_t)self->epoch.len) == 0;
    Py_DECREF(seen);
    return is_fresh;
}

/* A few times a second: what is past its deadline is handed over, to be ended as Python ends it. */
static PyObject *
tick(LaneObject *self, PyObject *seconds)
{
    double now = PyFloat_AsDouble(seconds);
    if (now == -1.0 && PyErr_Occurred()) {
        return NULL;
    }
    while (self->first != NULL && self->first->deadline <= now) {
        PyObject *invocation = trip_hand_over((PyObject *)self->first);
        if (invocation == NULL) {
            return NULL;
        }
        Py_DECREF(invocation);
    }
    if (self->in_flight == 0) {
        self->is_watched = 0;
    }
    return Py_NewRef(Py_None);
}

static PyObject *
lane_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(keywords))
{
    PyObject *gate, *routes, *epoch, *keys, *take_over, *begin, *now, *wall;
    double seconds;
    Py_ssize_t payload_limit, body_limit, budget;
    const char *prefix;
    Py_ssize_t prefix_size;
    unsigned long long next_request;
    if (!PyArg_ParseTuple(args, "OOOOOO(OO)d(nnn)(s#K)", &gate, &routes, &epoch, &keys, &take_over, &begin, &now, &wall,
                          &seconds, &payload_limit, &body_limit, &budget, &prefix, &prefix_size, &next_request)) {
        return NULL;
    }
    if (prefix_size != LANE_PREFIX) {
        PyErr_SetString(PyExc_ValueError, "ids begin with 24 characters");
        return NULL;
    }
    LaneObject *self = (LaneObject *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->gate = Py_NewRef(gate);
    self->routes = Py_NewRef(routes);
    self->keys = Py_NewRef(keys);
    self->take_over = Py_NewRef(take_over);
    self->begin = Py_NewRef(begin);
    self->now = Py_NewRef(now);
    self->wall = Py_NewRef(wall);
    self->seconds = seconds;
    self->payload_limit = payload_limit;
    self->body_limit = body_limit;
    self->budget = budget;
    memcpy(self->prefix, prefix, LANE_PREFIX);
    self->next_request = next_request;
    if (PyObject_GetBuffer(epoch, &self->epoch, PyBUF_SIMPLE) < 0) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static int
lane_traverse(LaneObject *self, visitproc visit, void *arg)
{
    Py_VISIT(self->gate);
    Py_VISIT(self->routes);
    Py_VISIT(self->keys);
    Py_VISIT(self->take_over);
    Py_VISIT(self->begin);
    Py_VISIT(self->now);
    Py_VISIT(self->wall);
    Py_VISIT(self->epoch.obj);
    return 0;
}

static void
lane_dealloc(LaneObject *self)
{
    PyObject_GC_UnTrack(self);
    Py_CLEAR(self->gate);
    Py_CLEAR(self->routes);
    Py_CLEAR(self->keys);
    Py_CLEAR(self->take_over);
    Py_CLEAR(self->begin);
    Py_CLEAR(self->now);
    Py_CLEAR(self->wall);
    if (self->epoch.obj != NULL) {
        PyBuffer_Release(&self->epoch);
    }
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyMethodDef lane_methods[] = {
    {"tick", (PyCFunction)tick, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef lane_members[] = {
    {"held", T_PYSSIZET, offsetof(LaneObject, held), READONLY, NULL},
    {"in_flight", T_PYSSIZET, offsetof(LaneObject, in_flight), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyTypeObject Lane_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "modelyard.native._native.Lane",
    .tp_basicsize = sizeof(LaneObject),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = lane_new,
    .tp_dealloc = (destructor)lane_dealloc,
    .tp_traverse = (traverseproc)lane_traverse,
    .tp_methods = lane_methods,
    .tp_members = lane_members,
};

/* ---- the track: what is known of requests with one head ---- */

static PyObject *
track_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(keywords))
{
    PyObject *lane, *port, *meta, *context, *peer, *signer, *table;
    Py_ssize_t length;
    if (!PyArg_ParseTuple(args, "O!O!SOOnOO", &Lane_Type, &lane, &Port_Type, &port, &meta, &context, &peer, &length,
                          &signer, &table)) {
        return NULL;
    }
    if (signer != Py_None && !Py_IS_TYPE(signer, &SignedType)) {
        PyErr_SetString(PyExc_TypeError, "requests are signed by a Signed, or not");
        return NULL;
    }
    TrackObject *self = (TrackObject *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->lane = (LaneObject *)Py_NewRef(lane);
    self->port = (PortObject *)Py_NewRef(port);
    self->meta = Py_NewRef(meta);
    self->context = Py_NewRef(context);
    self->peer = Py_NewRef(peer);
    self->length = length;
    self->signer = signer == Py_None ? NULL : (SignedObject *)Py_NewRef(signer);
    self->table = Py_NewRef(table);
    return (PyObject *)self;
}

static int
track_traverse(TrackObject *self, visitproc visit, void *arg)
{
    Py_VISIT(self->lane);
    Py_VISIT(self->port);
    Py_VISIT(self->context);
    Py_VISIT(self->signer);
    Py_VISIT(self->table);
    return 0;
}

/* `context` knows the head that knows the track. */
static int
track_clear(TrackObject *self)
{
    Py_XSETREF(self->context, Py_NewRef(Py_None));
    return 0;
}

static void
track_dealloc(TrackObject *self)
{
    PyObject_GC_UnTrack(self);
    Py_CLEAR(self->lane);
    Py_CLEAR(self->port);
    Py_CLEAR(self->meta);
    Py_CLEAR(self->context);
    Py_CLEAR(self->peer);
    Py_CLEAR(self->signer);
    Py_CLEAR(self->table);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyObject *
track_is_open(TrackObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(self->port->is_open);
}

static PyMemberDef track_members[] = {
    {"table", T_OBJECT, offsetof(TrackObject, table), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef track_properties[] = {
    {"is_open", (getter)track_is_open, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject Track_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "modelyard.native._native.Track",
    .tp_basicsize = sizeof(TrackObject),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = track_new,
    .tp_dealloc = (destructor)track_dealloc,
    .tp_traverse = (traverseproc)track_traverse,
    .tp_clear = (inquiry)track_clear,
    .tp_members = track_members,
    .tp_getset = track_properties,
};

int
lane_add(PyObject *module)
{
    name_seen = PyUnicode_InternFromString("seen");
    if (name_seen == NULL || PyModule_AddType(module, &Lane_Type) < 0) {
        return -1;
    }
    return PyModule_AddType(module, &Track_Type);
}
