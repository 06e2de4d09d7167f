/* Frames both ways: what transport/frames.py does, for many frames at a time. */

#include "frames.h"

#include <stddef.h>
#include <structmember.h>

/* Frame */

PyObject *
frame_new(const FrameHeader *header, PyObject *meta, PyObject *body)
{
    Frame *frame = PyObject_New(Frame, &FrameType);
    if (frame == NULL) {
        return NULL;
    }
    frame->id = header->id;
    frame->number = header->number;
    frame->flags = header->flags;
    frame->kind = header->kind;
    frame->meta = Py_NewRef(meta);
    frame->body = Py_NewRef(body);
    return (PyObject *)frame;
}

static PyObject *
frame_create(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"kind", "flags", "id", "number", "meta", "body", NULL};
    (void)type;
    FrameHeader header = {0};
    unsigned long long id;
    PyObject *meta, *body;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "bHKISS:Frame", names, &header.kind,
                                     &header.flags, &id, &header.number, &meta, &body)) {
        return NULL;
    }
    header.id = id;
    return frame_new(&header, meta, body);
}

static void
frame_dealloc(Frame *self)
{
    Py_DECREF(self->meta);
    Py_DECREF(self->body);
    PyObject_Free(self);
}

static PyObject *
frame_repr(Frame *self)
{
    return PyUnicode_FromFormat("Frame(kind=%d, flags=%d, id=%llu, number=%u, meta=%R, body=%R)",
                                (int)self->kind, (int)self->flags, (unsigned long long)self->id,
                                (unsigned int)self->number, self->meta, self->body);
}

static PyObject *
frame_compare(PyObject *left, PyObject *right, int operation)
{
    if (!Frame_Check(left) || !Frame_Check(right) || (operation != Py_EQ && operation != Py_NE)) {
        Py_RETURN_NOTIMPLEMENTED;
    }
    Frame *one = (Frame *)left, *other = (Frame *)right;
    int equal = one->id == other->id && one->number == other->number &&
                one->flags == other->flags && one->kind == other->kind;
    if (equal) {
        equal = PyObject_RichCompareBool(one->meta, other->meta, Py_EQ);
    }
    if (equal > 0) {
        equal = PyObject_RichCompareBool(one->body, other->body, Py_EQ);
    }
    if (equal < 0) {
        return NULL;
    }
    return PyBool_FromLong(equal == (operation == Py_EQ));
}

static PyMemberDef frame_members[] = {
    {"kind", T_UBYTE, offsetof(Frame, kind), READONLY, NULL},
    {"flags", T_USHORT, offsetof(Frame, flags), READONLY, NULL},
    {"id", T_ULONGLONG, offsetof(Frame, id), READONLY, NULL},
    {"number", T_UINT, offsetof(Frame, number), READONLY, NULL},
    {"meta", T_OBJECT_EX, offsetof(Frame, meta), READONLY, NULL},
    {"body", T_OBJECT_EX, offsetof(Frame, body), READONLY, NULL},
    {0},
};

PyTypeObject FrameType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "modelyard.native._native.Frame",
    .tp_doc = "One decoded frame; ``meta`` is still encoded, ``body`` a copy of its own.",
    .tp_basicsize = sizeof(Frame),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = frame_create,
    .tp_dealloc = (destructor)frame_dealloc,
    .tp_repr = (reprfunc)frame_repr,
    .tp_richcompare = frame_compare,
    .tp_hash = PyObject_HashNotImplemented,
    .tp_members = frame_members,
};

/* FrameDecoder: a base class, whose child says with a method ``broken`` what becomes of a bad frame. */

typedef struct {
    PyObject_HEAD
    PyObject *pieces; /* list of bytes: of the frame that is not whole yet */
    Py_ssize_t size;  /* of all pieces */
    Py_ssize_t needed;
    unsigned long long limit;
    PyObject *meta; /* the last frame's: most are alike, and share one object */
} Decoder;

static int
decoder_init(Decoder *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"limit", NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "$K:FrameDecoder", names, &self->limit)) {
        return -1;
    }
    Py_XSETREF(self->pieces, PyList_New(0));
    Py_XSETREF(self->meta, PyBytes_FromStringAndSize(NULL, 0));
    self->size = 0;
    self->needed = FRAME_HEADER_SIZE;
    return self->pieces == NULL || self->meta == NULL ? -1 : 0;
}

static void
decoder_dealloc(Decoder *self)
{
    Py_XDECREF(self->pieces);
    Py_XDECREF(self->meta);
    Py_TYPE(self)->tp_free(self);
}

/* A new reference to the meta that lies there, the last one where it is the same. */
static PyObject *
decoder_meta(Decoder *self, const char *at, Py_ssize_t length)
{
    if (PyBytes_GET_SIZE(self->meta) != length ||
        memcmp(PyBytes_AS_STRING(self->meta), at, (size_t)length) != 0) {
        PyObject *meta = PyBytes_FromStringAndSize(at, length);
        if (meta == NULL) {
            return NULL;
        }
        Py_SETREF(self->meta, meta);
    }
    return Py_NewRef(self->meta);
}

/* Appends the frame whose header was read and all of which is there; -1 with an exception. */
static int
decoder_append(Decoder *self, PyObject *found, const FrameHeader *header, const char *begin)
{
    const char *meta_at = begin + FRAME_HEADER_SIZE;
    Py_ssize_t body_length = (Py_ssize_t)header->length - FRAME_AFTER_LENGTH - header->meta_length;
    PyObject *frame = NULL, *body = NULL;
    PyObject *meta = decoder_meta(self, meta_at, header->meta_length);
    if (meta != NULL) {
        body = PyBytes_FromStringAndSize(meta_at + header->meta_length, body_length);
    }
    if (body != NULL) {
        frame = frame_new(header, meta, body);
    }
    int failed = frame == NULL || PyList_Append(found, frame) < 0;
    Py_XDECREF(frame);
    Py_XDECREF(body);
    Py_XDECREF(meta);
    return failed ? -1 : 0;
}

/* What was wrong with a header, as a new text; NULL without an exception where nothing was. */
static PyObject *
decoder_complaint(Decoder *self, const FrameHeader *header)
{
    if (header->version != FRAME_VERSION) {
        return PyUnicode_FromFormat("frame version %d, expected %d", (int)header->version,
                                    FRAME_VERSION);
    }
    if (!frame_has_valid_length(header, self->limit)) {
        return PyUnicode_FromFormat("frame of %u bytes, limit %llu", (unsigned int)header->length,
                                    self->limit);
    }
    return NULL;
}

/* Appends every whole frame; where the first begins that is not, or -1 with an exception. *complaint: see above. */
static Py_ssize_t
decoder_scan(Decoder *self, PyObject *data, PyObject *found, PyObject **complaint)
{
    const char *begin = PyBytes_AS_STRING(data);
    Py_ssize_t position = 0, available = PyBytes_GET_SIZE(data);
    self->needed = FRAME_HEADER_SIZE;
    while (available - position >= FRAME_HEADER_SIZE) {
        FrameHeader header = frame_read_header((const unsigned char *)begin + position);
        *complaint = decoder_complaint(self, &header);
        if (*complaint != NULL) {
            break;
        }
        if (PyErr_Occurred()) {
            return -1;
        }
        if ((Py_ssize_t)header.length + 4 > available - position) {
            self->needed = (Py_ssize_t)header.length + 4;
            break;
        }
        if (decoder_append(self, found, &header, begin + position) < 0) {
            return -1;
        }
        position += (Py_ssize_t)header.length + 4;
    }
    return position;
}

/* Keeps what lies behind ``position`` for the next feed: no copy where that is all, one join for many pieces. */
static int
decoder_keep(Decoder *self, PyObject *data, Py_ssize_t position)
{
    Py_ssize_t left = PyBytes_GET_SIZE(data) - position;
    if (PyList_SetSlice(self->pieces, 0, PyList_GET_SIZE(self->pieces), NULL) < 0) {
        return -1;
    }
    self->size = left;
    if (left == 0) {
        return 0;
    }
    PyObject *rest = position == 0
                         ? Py_NewRef(data)
                         : PyBytes_FromStringAndSize(PyBytes_AS_STRING(data) + position, left);
    int failed = rest == NULL || PyList_Append(self->pieces, rest) < 0;
    Py_XDECREF(rest);
    return failed ? -1 : 0;
}

/* All that is there, as a new bytes; NULL with an exception. */
static PyObject *
decoder_join(Decoder *self, PyObject *data)
{
    if (PyList_GET_SIZE(self->pieces) == 0) {
        return Py_NewRef(data);
    }
    PyObject *joined = PyBytes_FromStringAndSize(NULL, self->size + PyBytes_GET_SIZE(data));
    if (joined == NULL) {
        return NULL;
    }
    char *at = PyBytes_AS_STRING(joined);
    for (Py_ssize_t place = 0; place < PyList_GET_SIZE(self->pieces); place++) {
        PyObject *piece = PyList_GET_ITEM(self->pieces, place);
        memcpy(at, PyBytes_AS_STRING(piece), (size_t)PyBytes_GET_SIZE(piece));
        at += PyBytes_GET_SIZE(piece);
    }
    memcpy(at, PyBytes_AS_STRING(data), (size_t)PyBytes_GET_SIZE(data));
    return joined;
}

static PyObject *
decoder_feed(Decoder *self, PyObject *data)
{
    if (!PyBytes_Check(data) || self->pieces == NULL) {
        PyErr_SetString(PyExc_TypeError, "FrameDecoder.feed takes bytes");
        return NULL;
    }
    PyObject *found = PyList_New(0);
    if (found == NULL) {
        return NULL;
    }
    if (self->size > 0 && self->size + PyBytes_GET_SIZE(data) < self->needed) {
        self->size += PyBytes_GET_SIZE(data);
        if (PyList_Append(self->pieces, data) < 0) {
            Py_CLEAR(found);
        }
        return found;
    }
    PyObject *complaint = NULL, *result = NULL;
    PyObject *joined = decoder_join(self, data);
    Py_ssize_t position = joined == NULL ? -1 : decoder_scan(self, joined, found, &complaint);
    if (position >= 0 && decoder_keep(self, joined, position) == 0) {
        result = complaint == NULL ? Py_NewRef(found)
                                   : PyObject_CallMethod((PyObject *)self, "broken", "OO", found,
                                                         complaint);
    }
    Py_XDECREF(joined);
    Py_XDECREF(complaint);
    Py_DECREF(found);
    return result;
}

static PyMethodDef decoder_methods[] = {
    {"feed", (PyCFunction)decoder_feed, METH_O,
     "Every whole frame as a list; what ``self.broken(frames before, text)`` gives where one is bad."},
    {0},
};

static PyTypeObject DecoderType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "modelyard.native._native.FrameDecoder",
    .tp_doc = "Bytes in, frames out; holds at most one unfinished frame of ``limit`` bytes.",
    .tp_basicsize = sizeof(Decoder),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .tp_new = PyType_GenericNew,
    .tp_init = (initproc)decoder_init,
    .tp_dealloc = (destructor)decoder_dealloc,
    .tp_methods = decoder_methods,
};

int
frames_add(PyObject *module)
{
    if (PyModule_AddType(module, &FrameType) < 0 || PyModule_AddType(module, &DecoderType) < 0) {
        return -1;
    }
    return 0;
}
