/* Where the lane's requests of one variant go: the least busy replica; and how long they took. */

#include "port.h"

#include <math.h>
#include <structmember.h>

#include "trip.h"

static PyObject *name_is_guarded, *name_turn;

/* Whether somebody stands before a request that comes now, or a replica may be kept for one: then Python decides. */
int
port_is_crowded(PortObject *self)
{
    Py_ssize_t waiting = PyObject_Size(self->waiting), suspects = PyObject_Size(self->suspects);
    if (waiting < 0 || suspects < 0) {
        return -1;
    }
    if (waiting + suspects > 0) {
        return 1;
    }
    PyObject *guarded = PyObject_GetAttr(self->pool, name_is_guarded);
    if (guarded == NULL) {
        return -1;
    }
    int crowded = PyObject_IsTrue(guarded);
    Py_DECREF(guarded);
    return crowded;
}

static Py_ssize_t
load_of(PortObject *self, Py_ssize_t place)
{
    LineObject *line = (LineObject *)PyTuple_GET_ITEM(self->lines, place);
    Py_ssize_t load = PyDict_GET_SIZE(line->pending);
    return line->is_ready && load < self->limit ? load : -1;
}

/* The pool's turn, one further; -1 with an exception. */
static Py_ssize_t
next_turn(PortObject *self)
{
    PyObject *last = PyObject_GetAttr(self->pool, name_turn);
    Py_ssize_t turn = last == NULL ? -1 : PyLong_AsSsize_t(last) + 1;
    Py_XDECREF(last);
    PyObject *next = turn <= 0 ? NULL : PyLong_FromSsize_t(turn);
    int failed = next == NULL || PyObject_SetAttr(self->pool, name_turn, next) < 0;
    Py_XDECREF(next);
    return failed ? -1 : turn;
}

/* gateway/pool.py: _choose, and domain/routing.py: least_outstanding. */
int
port_choose(PortObject *self, Py_ssize_t *chosen)
{
    Py_ssize_t count = PyTuple_GET_SIZE(self->lines), open = 0, turn = 0, best = -1;
    for (Py_ssize_t place = 0; place < count; place++) {
        open += load_of(self, place) >= 0;
    }
    if (open == 0) {
        return 0;
    }
    if (count > 1 && (turn = next_turn(self)) < 0) {
        return -1;
    }
    Py_ssize_t least = 0, nearest = 0, from_turn = open - turn % open;
    for (Py_ssize_t place = 0; place < count; place++) {
        Py_ssize_t load = load_of(self, place);
        if (load < 0) {
            continue;
        }
        Py_ssize_t near = from_turn++ % open;
        if (best < 0 || load < least || (load == least && near < nearest)) {
            best = place;
            least = load;
            nearest = near;
        }
    }
    *chosen = best;
    return 1;
}

PyObject *
port_head(PortObject *self, const char *meta, Py_ssize_t size)
{
    for (int i = 0; i < PORT_HEADS; i++) {
        PyObject *known = self->heads[i].meta;
        if (known != NULL && PyBytes_GET_SIZE(known) == size && memcmp(PyBytes_AS_STRING(known), meta, (size_t)size) == 0) {
            return self->heads[i].head;
        }
    }
    PyObject *asked = PyBytes_FromStringAndSize(meta, size);
    PyObject *head = asked == NULL ? NULL : PyObject_CallOneArg(self->begin_answer, asked);
    if (head == NULL || (head != Py_None && !PyBytes_Check(head))) {
        Py_XDECREF(asked);
        Py_XDECREF(head);
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_TypeError, "an answer begins with bytes");
        }
        return NULL;
    }
    PortHead *place = &self->heads[self->next_head];
    self->next_head = (self->next_head + 1) % PORT_HEADS;
    Py_XSETREF(place->meta, asked);
    Py_XSETREF(place->head, head);
    return head;
}

/* gateway/counters.py: _bucket */
static int
bucket_of(double microseconds)
{
    static double per_log = 0.0;
    if (per_log == 0.0) {
        per_log = 1.0 / log(1.01);
    }
    if (!(microseconds > 1.0)) {
        return 0;
    }
    double place = log(microseconds) * per_log;
    return place < PORT_BUCKETS - 1 ? (int)place : PORT_BUCKETS - 1;
}

int
port_count(PortObject *self, double model_seconds, double seconds)
{
    if (self->counts == NULL) {
        self->counts = PyMem_Calloc(2 * PORT_BUCKETS, sizeof(uint32_t));
        if (self->counts == NULL) {
            PyErr_NoMemory();
            return -1;
        }
    }
    double model = model_seconds * 1e6, overhead = seconds * 1e6 - model;
    self->model_sum += model;
    self->overhead_sum += overhead;
    self->counts[bucket_of(model)]++;
    self->counts[PORT_BUCKETS + bucket_of(overhead)]++;
    return 0;
}

static PyObject *
histogram(const uint32_t *counts)
{
    PyObject *found = PyDict_New();
    for (long place = 0; found != NULL && place < PORT_BUCKETS; place++) {
        if (counts[place] == 0) {
            continue;
        }
        PyObject *key = PyLong_FromLong(place), *count = PyLong_FromUnsignedLong(counts[place]);
        if (key == NULL || count == NULL || PyDict_SetItem(found, key, count) < 0) {
            Py_CLEAR(found);
        }
        Py_XDECREF(key);
        Py_XDECREF(count);
    }
    return found;
}

/* What was counted since the last time: sums in microseconds and histograms of model and overhead; None for nothing. */
static PyObject *
take_counts(PortObject *self, PyObject *Py_UNUSED(none))
{
    if (self->counts == NULL) {
        return Py_NewRef(Py_None);
    }
    PyObject *model = histogram(self->counts), *overhead = histogram(self->counts + PORT_BUCKETS);
    PyObject *found = NULL;
    if (model != NULL && overhead != NULL) {
        found = Py_BuildValue("ddOO", self->model_sum, self->overhead_sum, model, overhead);
    }
    Py_XDECREF(model);
    Py_XDECREF(overhead);
    if (found != NULL) {
        PyMem_Free(self->counts);
        self->counts = NULL;
        self->model_sum = self->overhead_sum = 0.0;
    }
    return found;
}

/* The variant is another one now, or gone: its requests are Python's to route. */
static PyObject *
close_port(PortObject *self, PyObject *Py_UNUSED(none))
{
    self->is_open = 0;
    return Py_NewRef(Py_None);
}

/* ---- the type ---- */

static PyObject *
port_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(keywords))
{
    PyObject *key, *pool, *waiting, *suspects, *replicas, *lines, *begin_answer;
    Py_ssize_t limit;
    if (!PyArg_ParseTuple(args, "OOOOO!O!nO", &key, &pool, &waiting, &suspects, &PyTuple_Type, &replicas,
                          &PyTuple_Type, &lines, &limit, &begin_answer)) {
        return NULL;
    }
    int is_right = PyTuple_GET_SIZE(replicas) == PyTuple_GET_SIZE(lines);
    for (Py_ssize_t i = 0; is_right && i < PyTuple_GET_SIZE(lines); i++) {
        is_right = Py_IS_TYPE(PyTuple_GET_ITEM(lines, i), &Line_Type);
    }
    if (!is_right) {
        PyErr_SetString(PyExc_TypeError, "a port has a Line for each of its replicas");
        return NULL;
    }
    PortObject *self = (PortObject *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->key = Py_NewRef(key);
    self->pool = Py_NewRef(pool);
    self->waiting = Py_NewRef(waiting);
    self->suspects = Py_NewRef(suspects);
    self->replicas = Py_NewRef(replicas);
    self->lines = Py_NewRef(lines);
    self->begin_answer = Py_NewRef(begin_answer);
    self->limit = limit;
    self->is_open = 1;
    return (PyObject *)self;
}

static int
port_traverse(PortObject *self, visitproc visit, void *arg)
{
    Py_VISIT(self->key);
    Py_VISIT(self->pool);
    Py_VISIT(self->waiting);
    Py_VISIT(self->suspects);
    Py_VISIT(self->replicas);
    Py_VISIT(self->lines);
    Py_VISIT(self->begin_answer);
    return 0;
}

static void
port_dealloc(PortObject *self)
{
    PyObject_GC_UnTrack(self);
    Py_CLEAR(self->key);
    Py_CLEAR(self->pool);
    Py_CLEAR(self->waiting);
    Py_CLEAR(self->suspects);
    Py_CLEAR(self->replicas);
    Py_CLEAR(self->lines);
    Py_CLEAR(self->begin_answer);
    for (int i = 0; i < PORT_HEADS; i++) {
        Py_CLEAR(self->heads[i].meta);
        Py_CLEAR(self->heads[i].head);
    }
    PyMem_Free(self->counts);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyMethodDef port_methods[] = {
    {"close", (PyCFunction)close_port, METH_NOARGS, NULL},
    {"take_counts", (PyCFunction)take_counts, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef port_members[] = {
    {"key", T_OBJECT, offsetof(PortObject, key), READONLY, NULL},
    {"is_open", T_BOOL, offsetof(PortObject, is_open), READONLY, NULL},
    {"trips", T_PYSSIZET, offsetof(PortObject, trips), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyTypeObject Port_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "modelyard.native._native.Port",
    .tp_basicsize = sizeof(PortObject),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = port_new,
    .tp_dealloc = (destructor)port_dealloc,
    .tp_traverse = (traverseproc)port_traverse,
    .tp_methods = port_methods,
    .tp_members = port_members,
};

int
port_add(PyObject *module)
{
    name_is_guarded = PyUnicode_InternFromString("_is_guarded");
    name_turn = PyUnicode_InternFromString("_turn");
    return name_is_guarded == NULL || name_turn == NULL ? -1 : PyModule_AddType(module, &Port_Type);
}
