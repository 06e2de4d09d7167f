/* Frames out and in, by number. The twin of transport/line.py, which says what each method means. */

#include "line.h"

#include <stdint.h>
#include <structmember.h>

#include "trip.h"

static PyObject *name_answered, *name_flush_rest;

/* ---- out ---- */

static int
write_out(LineObject *self, PyObject *data)
{
    if (data == NULL) {
        return -1;
    }
    PyObject *write = Py_XNewRef(self->write);
    PyObject *done = write == NULL ? Py_NewRef(Py_None) : PyObject_CallOneArg(write, data);
    Py_XDECREF(write);
    Py_DECREF(data);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static int
flush(LineObject *self)
{
    PyObject *data = NULL;
    if (self->write != NULL && self->outgoing.size > 0) {
        data = PyBytes_FromStringAndSize(self->outgoing.bytes, (Py_ssize_t)self->outgoing.size);
        if (data == NULL) {
            return -1;
        }
    }
    buffer_clear(&self->outgoing);
    self->outgoing_frames = 0;
    return data == NULL ? 0 : write_out(self, data);
}

/* One more frame is in `outgoing`: it leaves with those before it, at the latest when the event loop turns. */
static int
flush_in_time(LineObject *self)
{
    if (++self->outgoing_frames >= self->together) {
        return flush(self);
    }
    if (self->is_flush_due || self->soon == NULL) {
        return 0;
    }
    PyObject *method = PyObject_GetAttr((PyObject *)self, name_flush_rest);
    PyObject *handle = method == NULL ? NULL : PyObject_CallOneArg(self->soon, method);
    Py_XDECREF(method);
    if (handle == NULL) {
        return -1;
    }
    Py_DECREF(handle);
    self->is_flush_due = 1;
    return 0;
}

/* Nobody to travel with: a lone frame does not wait for a turn. */
static int
is_lone(LineObject *self)
{
    return self->outgoing.size == 0 && PyDict_GET_SIZE(self->pending) <= 1 && self->write != NULL;
}

uint64_t
line_send(LineObject *self, PyObject *tag, uint32_t remaining_ms, uint16_t flags, const char *meta,
          Py_ssize_t meta_size, const char *body, Py_ssize_t body_size)
{
    uint64_t number = self->next_number;
    uint64_t length = FRAME_AFTER_LENGTH + (uint64_t)meta_size + (uint64_t)body_size;
    if (length > UINT32_MAX) {
        PyErr_SetString(PyExc_OverflowError, "a frame holds at most 4 GiB");
        return 0;
    }
    PyObject *key = PyLong_FromUnsignedLongLong(number);
    if (key == NULL || PyDict_SetItem(self->pending, key, tag) < 0) {
        Py_XDECREF(key);
        return 0;
    }
    Py_DECREF(key);
    self->next_number = number + 1;
    PyObject *lone = NULL;
    char *at;
    if (is_lone(self)) {
        lone = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)length + 4);
        at = lone == NULL ? NULL : PyBytes_AS_STRING(lone);
    }
    else {
        at = buffer_extend(&self->outgoing, length + 4);
    }
    if (at == NULL) {
        return 0;
    }
    FrameHeader header = {(uint32_t)length, FRAME_VERSION, FRAME_REQUEST, flags, number, remaining_ms, (uint32_t)meta_size};
    unsigned char *rest = frame_write_header((unsigned char *)at, &header);
    memcpy(rest, meta, (size_t)meta_size);
    memcpy(rest + meta_size, body, (size_t)body_size);
    int failed = lone == NULL ? flush_in_time(self) : write_out(self, lone);
    return failed ? 0 : number;
}

static PyObject *
send_request(LineObject *self, PyObject *const *args, Py_ssize_t count)
{
    if (count != 5 || !PyBytes_Check(args[3]) || !PyBytes_Check(args[4])) {
        PyErr_SetString(PyExc_TypeError, "send(tag, remaining_ms: int, flags: int, meta: bytes, body: bytes)");
        return NULL;
    }
    unsigned long remaining_ms = PyLong_AsUnsignedLong(args[1]), flags = PyLong_AsUnsignedLong(args[2]);
    if (PyErr_Occurred()) {
        return NULL;
    }
    if (remaining_ms > UINT32_MAX || flags > UINT16_MAX) {
        PyErr_SetString(PyExc_OverflowError, "remaining_ms has 32 bits, flags have 16");
        return NULL;
    }
    uint64_t number = line_send(self, args[0], (uint32_t)remaining_ms, (uint16_t)flags, PyBytes_AS_STRING(args[3]),
                                PyBytes_GET_SIZE(args[3]), PyBytes_AS_STRING(args[4]), PyBytes_GET_SIZE(args[4]));
    return number == 0 ? NULL : PyLong_FromUnsignedLongLong(number);
}

static PyObject *
say(LineObject *self, PyObject *frame)
{
    if (!PyBytes_Check(frame)) {
        PyErr_SetString(PyExc_TypeError, "a frame is bytes");
        return NULL;
    }
    int failed;
    if (is_lone(self)) {
        failed = write_out(self, Py_NewRef(frame));
    }
    else {
        failed = buffer_add(&self->outgoing, PyBytes_AS_STRING(frame), (size_t)PyBytes_GET_SIZE(frame)) < 0
                 || flush_in_time(self) < 0;
    }
    return failed ? NULL : Py_NewRef(Py_None);
}

static PyObject *
flush_rest(LineObject *self, PyObject *Py_UNUSED(none))
{
    self->is_flush_due = 0;
    return flush(self) < 0 ? NULL : Py_NewRef(Py_None);
}

/* ---- in ---- */

static PyObject *
frame_of(const FrameView *view)
{
    PyObject *meta = PyBytes_FromStringAndSize(view->meta, view->header.meta_length);
    PyObject *body = PyBytes_FromStringAndSize(view->body, view->body_size);
    PyObject *frame = meta == NULL || body == NULL ? NULL : frame_new(&view->header, meta, body);
    Py_XDECREF(meta);
    Py_XDECREF(body);
    return frame;
}

static int
tell_answered(LineObject *self, PyObject *tag, const FrameView *view)
{
    PyObject *frame = frame_of(view);
    if (frame == NULL) {
        return -1;
    }
    PyObject *done = PyObject_CallMethodObjArgs(self->asker, name_answered, tag, frame, NULL);
    Py_DECREF(frame);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* The tag of a request, no longer pending; NULL without an exception where there is none. */
static PyObject *
pop_tag(LineObject *self, PyObject *key)
{
    PyObject *tag = PyDict_GetItemWithError(self->pending, key);
    if (tag == NULL) {
        return NULL;
    }
    Py_INCREF(tag);
    if (PyDict_DelItem(self->pending, key) < 0) {
        Py_CLEAR(tag);
    }
    return tag;
}

/* An answer that cannot be read is no answer: its request is lost, with the connection. */
static void
put_back(LineObject *self, PyObject *key, PyObject *tag)
{
    if (!PyErr_ExceptionMatches(self->decode_error)) {
        return;
    }
#if PY_VERSION_HEX >= 0x030C0000
    PyObject *error = PyErr_GetRaisedException();
    if (PyDict_SetItem(self->pending, key, tag) < 0) {
        PyErr_Clear();
    }
    PyErr_SetRaisedException(error);
#else
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    if (PyDict_SetItem(self->pending, key, tag) < 0) {
        PyErr_Clear();
    }
    PyErr_Restore(type, value, trace);
#endif
}

static int
take_answer(LineObject *self, const FrameView *view)
{
    PyObject *key = PyLong_FromUnsignedLongLong(view->header.id);
    if (key == NULL) {
        return -1;
    }
    int failed = 0;
    PyObject *tag = pop_tag(self, key);
    if (tag == NULL) {
        failed = PyErr_Occurred() ? -1 : 0;
    }
    else {
        PyObject *told = Py_NewRef(tag);
        if (Trip_Check(tag)) {
            Py_SETREF(told, trip_answered(tag, view));
        }
        if (told == NULL || (told != Py_None && tell_answered(self, told, view) < 0)) {
            put_back(self, key, tag);
            failed = -1;
        }
        Py_XDECREF(told);
        Py_DECREF(tag);
    }
    Py_DECREF(key);
    return failed;
}

static int
take_frame(LineObject *self, const FrameView *view)
{
    if (view->header.kind == FRAME_ANSWER) {
        return take_answer(self, view);
    }
    PyObject *frame = frame_of(view);
    PyObject *done = frame == NULL ? NULL : PyObject_CallOneArg(self->take, frame);
    Py_XDECREF(frame);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* The frame at the beginning of `size` bytes: its length with its header, 0 where not all of it has come, -1 for what is none. */
static Py_ssize_t
read_frame(LineObject *self, const char *from, size_t size, FrameView *view)
{
    if (size < FRAME_HEADER_SIZE) {
        return 0;
    }
    FrameHeader header = frame_read_header((const unsigned char *)from);
    if (header.version != FRAME_VERSION) {
        PyErr_Format(self->frame_error, "frame version %d, expected %d", header.version, FRAME_VERSION);
        return -1;
    }
    if (!frame_has_valid_length(&header, (uint64_t)self->limit)) {
        PyErr_Format(self->frame_error, "frame of %lu bytes, limit %zd", (unsigned long)header.length, self->limit);
        return -1;
    }
    size_t whole = (size_t)header.length + 4;
    if (whole > size) {
        return 0;
    }
    const char *meta = from + FRAME_HEADER_SIZE;
    Py_ssize_t body_size = (Py_ssize_t)(header.length - FRAME_AFTER_LENGTH - header.meta_length);
    *view = (FrameView){header, meta, meta + header.meta_length, body_size};
    return (Py_ssize_t)whole;
}

/* Takes every whole frame; how many bytes they were, or -1. */
static Py_ssize_t
take_frames(LineObject *self, const char *bytes, size_t size)
{
    size_t position = 0;
    for (;;) {
        FrameView view;
        Py_ssize_t length = read_frame(self, bytes + position, size - position, &view);
        if (length <= 0) {
            return length < 0 ? -1 : (Py_ssize_t)position;
        }
        position += (size_t)length;
        if (take_frame(self, &view) < 0) {
            return -1;
        }
    }
}

static PyObject *
feed(LineObject *self, PyObject *data)
{
    if (!PyBytes_Check(data)) {
        PyErr_SetString(PyExc_TypeError, "what came is bytes");
        return NULL;
    }
    const char *bytes = PyBytes_AS_STRING(data);
    size_t size = (size_t)PyBytes_GET_SIZE(data);
    unsigned opened = self->opened;
    /* Out of the object while frames are told of: whoever hears of them may end the connection. */
    Buffer joined = self->unfinished;
    self->unfinished = (Buffer){0};
    if (joined.size > 0) {
        if (buffer_add(&joined, bytes, size) < 0) {
            buffer_free(&joined);
            return NULL;
        }
        bytes = joined.bytes;
        size = joined.size;
    }
    Py_ssize_t taken = take_frames(self, bytes, size);
    int failed = taken < 0;
    size_t rest = failed ? 0 : size - (size_t)taken;
    if (rest > 0 && self->opened == opened && self->write != NULL) {
        if (joined.size > 0) {
            memmove(joined.bytes, joined.bytes + taken, rest);
            joined.size = rest;
        }
        else {
            failed = buffer_add(&joined, bytes + taken, rest) < 0;
        }
    }
    else {
        buffer_clear(&joined);
    }
    buffer_free(&self->unfinished);
    self->unfinished = joined;
    return failed ? NULL : Py_NewRef(Py_None);
}

/* ---- the connection ---- */

static PyObject *
open_line(LineObject *self, PyObject *const *args, Py_ssize_t count)
{
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "open(write, soon)");
        return NULL;
    }
    Py_XSETREF(self->write, Py_NewRef(args[0]));
    Py_XSETREF(self->soon, Py_NewRef(args[1]));
    buffer_clear(&self->unfinished);
    self->opened++;
    return Py_NewRef(Py_None);
}

static PyObject *
shut(LineObject *self, PyObject *Py_UNUSED(none))
{
    Py_CLEAR(self->write);
    Py_CLEAR(self->soon);
    self->is_ready = self->is_flush_due = 0;
    buffer_clear(&self->outgoing);
    buffer_clear(&self->unfinished);
    self->outgoing_frames = 0;
    self->opened++;
    PyObject *tags = PyDict_Values(self->pending), *lost = tags == NULL ? NULL : PyList_New(0);
    if (lost != NULL) {
        PyDict_Clear(self->pending);
    }
    for (Py_ssize_t i = 0; lost != NULL && i < PyList_GET_SIZE(tags); i++) {
        PyObject *tag = PyList_GET_ITEM(tags, i);
        PyObject *told = Trip_Check(tag) ? trip_hand_over(tag) : Py_NewRef(tag);
        if (told == NULL) {
            PyErr_WriteUnraisable(tag); /* One that cannot be handed over keeps no other from being told of. */
        }
        else if (told != Py_None && PyList_Append(lost, told) < 0) {
            Py_CLEAR(lost);
        }
        Py_XDECREF(told);
    }
    Py_XDECREF(tags);
    return lost;
}

/* The tag of a request that awaits its answer; None of one that does not, or that Python knows nothing of. */
static PyObject *
asked(LineObject *self, PyObject *number)
{
    PyObject *tag = PyDict_GetItemWithError(self->pending, number);
    if (tag == NULL) {
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
    }
    return Trip_Check(tag) ? trip_invocation(tag) : Py_NewRef(tag);
}

/* ---- the type ---- */

static PyObject *
line_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(keywords))
{
    PyObject *asker, *take, *frame_error, *decode_error;
    Py_ssize_t limit;
    int together;
    if (!PyArg_ParseTuple(args, "OO(OO)ni", &asker, &take, &frame_error, &decode_error, &limit, &together)) {
        return NULL;
    }
    LineObject *self = (LineObject *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->asker = Py_NewRef(asker);
    self->take = Py_NewRef(take);
    self->frame_error = Py_NewRef(frame_error);
    self->decode_error = Py_NewRef(decode_error);
    self->limit = limit;
    self->together = together;
    self->next_number = 1;
    self->pending = PyDict_New();
    if (self->pending == NULL) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static int
line_traverse(LineObject *self, visitproc visit, void *arg)
{
    Py_VISIT(self->asker);
    Py_VISIT(self->take);
    Py_VISIT(self->frame_error);
    Py_VISIT(self->decode_error);
    Py_VISIT(self->pending);
    Py_VISIT(self->write);
    Py_VISIT(self->soon);
    return 0;
}

/* What closes cycles; the rest is needed for as long as anybody may call. */
static int
line_clear(LineObject *self)
{
    Py_CLEAR(self->write);
    Py_CLEAR(self->soon);
    if (self->pending != NULL) {
        PyDict_Clear(self->pending);
    }
    return 0;
}

static void
line_dealloc(LineObject *self)
{
    PyObject_GC_UnTrack(self);
    line_clear(self);
    Py_CLEAR(self->asker);
    Py_CLEAR(self->take);
    Py_CLEAR(self->frame_error);
    Py_CLEAR(self->decode_error);
    Py_CLEAR(self->pending);
    buffer_free(&self->outgoing);
    buffer_free(&self->unfinished);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyObject *
in_flight(LineObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromSsize_t(PyDict_GET_SIZE(self->pending));
}

static PyMethodDef line_methods[] = {
    {"open", (PyCFunction)(void (*)(void))open_line, METH_FASTCALL, NULL},
    {"send", (PyCFunction)(void (*)(void))send_request, METH_FASTCALL, NULL},
    {"say", (PyCFunction)say, METH_O, NULL},
    {"feed", (PyCFunction)feed, METH_O, NULL},
    {"shut", (PyCFunction)shut, METH_NOARGS, NULL},
    {"asked", (PyCFunction)asked, METH_O, NULL},
    {"_flush_rest", (PyCFunction)flush_rest, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef line_members[] = {
    {"is_ready", T_BOOL, offsetof(LineObject, is_ready), 0, NULL},
    {"trips", T_PYSSIZET, offsetof(LineObject, trips), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef line_properties[] = {
    {"in_flight", (getter)in_flight, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject Line_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "modelyard.native._native.Line",
    .tp_basicsize = sizeof(LineObject),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = line_new,
    .tp_dealloc = (destructor)line_dealloc,
    .tp_traverse = (traverseproc)line_traverse,
    .tp_clear = (inquiry)line_clear,
    .tp_methods = line_methods,
    .tp_members = line_members,
    .tp_getset = line_properties,
};

int
line_add(PyObject *module)
{
    name_answered = PyUnicode_InternFromString("answered");
    name_flush_rest = PyUnicode_InternFromString("_flush_rest");
    if (name_answered == NULL || name_flush_rest == NULL) {
        return -1;
    }
    return PyModule_AddType(module, &Line_Type);
}
