/* What a worker does with each request of a batch beside predicting: what worker/batcher.py and worker/server.py do, for many
requests at a time, where they are all ordinary. */

#include "waiting.h"

#include "frames.h"

#include <stddef.h>
#include <structmember.h>

/* Waiting: a request that has not been started. */

typedef struct {
    PyObject_HEAD
    PyObject *peer;
    PyObject *frame; /* a Frame, where C made it */
    PyObject *meta;
    double expires;
} Waiting;

static PyTypeObject WaitingType;

static PyObject *
waiting_new(PyObject *peer, PyObject *frame, PyObject *meta, double expires)
{
    Waiting *self = PyObject_GC_New(Waiting, &WaitingType);
    if (self == NULL) {
        return NULL;
    }
    self->peer = Py_NewRef(peer);
    self->frame = Py_NewRef(frame);
    self->meta = Py_NewRef(meta);
    self->expires = expires;
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

static PyObject *
waiting_create(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"peer", "frame", "meta", "expires", NULL};
    (void)type;
    PyObject *peer, *frame, *meta;
    double expires;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOd:Waiting", names, &peer, &frame, &meta,
                                     &expires)) {
        return NULL;
    }
    return waiting_new(peer, frame, meta, expires);
}

static int
waiting_traverse(Waiting *self, visitproc visit, void *arg)
{
    Py_VISIT(self->peer);
    Py_VISIT(self->frame);
    Py_VISIT(self->meta);
    return 0;
}

static int
waiting_clear(Waiting *self)
{
    Py_CLEAR(self->peer);
    Py_CLEAR(self->frame);
    Py_CLEAR(self->meta);
    return 0;
}

static void
waiting_dealloc(Waiting *self)
{
    PyObject_GC_UnTrack(self);
    waiting_clear(self);
    PyObject_GC_Del(self);
}

static PyMemberDef waiting_members[] = {
    {"peer", T_OBJECT_EX, offsetof(Waiting, peer), READONLY, NULL},
    {"frame", T_OBJECT_EX, offsetof(Waiting, frame), READONLY, NULL},
    {"meta", T_OBJECT_EX, offsetof(Waiting, meta), READONLY, NULL},
    {"expires", T_DOUBLE, offsetof(Waiting, expires), READONLY, NULL},
    {0},
};

static PyMethodDef waiting_methods[] = {
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, "For annotations."},
    {0},
};

static PyTypeObject WaitingType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "modelyard.native._native.Waiting",
    .tp_doc = "A request that has not been started. ``expires`` is on the server's monotonic clock.",
    .tp_basicsize = sizeof(Waiting),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = waiting_create,
    .tp_dealloc = (destructor)waiting_dealloc,
    .tp_traverse = (traverseproc)waiting_traverse,
    .tp_clear = (inquiry)waiting_clear,
    .tp_members = waiting_members,
    .tp_methods = waiting_methods,
};

/* The frame of one of a batch; NULL without an exception where it is not what C has made. */
static Frame *
frame_of(PyObject *one)
{
    if (!Py_IS_TYPE(one, &WaitingType) || ((Waiting *)one)->frame == NULL) {
        return NULL;
    }
    PyObject *frame = ((Waiting *)one)->frame;
    return Frame_Check(frame) ? (Frame *)frame : NULL;
}

/* waiting_of */

static PyObject *
waiting_of(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *found, *peer, *metas;
    Py_ssize_t start, bytes = 0;
    double now;
    if (!PyArg_ParseTuple(args, "O!nOO!d:waiting_of", &PyList_Type, &found, &start, &peer,
                          &PyDict_Type, &metas, &now)) {
        return NULL;
    }
    PyObject *run = PyList_New(0);
    if (run == NULL) {
        return NULL;
    }
    PyObject *encoded = NULL, *meta = NULL; /* Borrowed: the last frame's, which most share. */
    for (Py_ssize_t place = start; place < PyList_GET_SIZE(found); place++) {
        PyObject *item = PyList_GET_ITEM(found, place);
        Frame *frame = (Frame *)item;
        if (!Frame_Check(item) || frame->kind != FRAME_REQUEST) {
            break;
        }
        if (frame->meta != encoded) {
            encoded = frame->meta;
            meta = PyDict_GetItemWithError(metas, encoded);
        }
        if (meta == NULL) {
            break;
        }
        PyObject *waiting = waiting_new(peer, item, meta, now + frame->number / 1000.0);
        if (waiting == NULL || PyList_Append(run, waiting) < 0) {
            Py_XDECREF(waiting);
            break;
        }
        Py_DECREF(waiting);
        bytes += PyBytes_GET_SIZE(frame->body);
    }
    if (PyErr_Occurred()) {
        Py_DECREF(run);
        return NULL;
    }
    return Py_BuildValue("Nn", run, bytes);
}

/* survey */

static PyObject *
survey(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *batch;
    double now;
    if (!PyArg_ParseTuple(args, "O!d:survey", &PyList_Type, &batch, &now)) {
        return NULL;
    }
    PyObject *peers = PyList_New(0), *last = NULL;
    Py_ssize_t bytes = 0;
    for (Py_ssize_t place = 0; peers != NULL && place < PyList_GET_SIZE(batch); place++) {
        PyObject *one = PyList_GET_ITEM(batch, place);
        Frame *frame = frame_of(one);
        if (frame == NULL || frame->flags & FRAME_SOLO || ((Waiting *)one)->expires <= now) {
            Py_DECREF(peers);
            Py_RETURN_NONE;
        }
        bytes += PyBytes_GET_SIZE(frame->body);
        if (((Waiting *)one)->peer != last) {
            last = ((Waiting *)one)->peer;
            if (PyList_Append(peers, last) < 0) {
                Py_CLEAR(peers);
            }
        }
    }
    return peers == NULL ? NULL : Py_BuildValue("nN", bytes, peers);
}

/* alike */

static PyObject *
alike(PyObject *module, PyObject *batch)
{
    (void)module;
    if (!PyList_Check(batch) || PyList_GET_SIZE(batch) == 0) {
        Py_RETURN_NONE;
    }
    Py_ssize_t size = PyList_GET_SIZE(batch);
    PyObject *meta = NULL, *bodies = PyList_New(size);
    for (Py_ssize_t place = 0; bodies != NULL && place < size; place++) {
        PyObject *one = PyList_GET_ITEM(batch, place);
        Frame *frame = frame_of(one);
        if (frame != NULL && meta == NULL) {
            meta = ((Waiting *)one)->meta;
        }
        if (frame == NULL || frame->flags != 0 || ((Waiting *)one)->meta != meta) {
            Py_DECREF(bodies);
            Py_RETURN_NONE;
        }
        PyList_SET_ITEM(bodies, place, Py_NewRef(frame->body));
    }
    return bodies == NULL ? NULL : Py_BuildValue("ON", meta, bodies);
}

/* answers_to: all answers of a batch, those to one peer in one piece. */

typedef struct {
    PyObject *peer; /* Borrowed. */
    Py_ssize_t bytes;
    PyObject *encoded;
    unsigned char *at;
} Letter;

typedef struct {
    Letter *letters;
    Py_ssize_t count;
    Py_ssize_t *letter_of; /* For each of the batch. */
} Post;

/* Most are of the peer that the one before was of: a gateway. */
static Py_ssize_t
post_find(Post *post, PyObject *peer, Py_ssize_t last)
{
    if (last < post->count && post->letters[last].peer == peer) {
        return last;
    }
    for (Py_ssize_t place = 0; place < post->count; place++) {
        if (post->letters[place].peer == peer) {
            return place;
        }
    }
    post->letters[post->count] = (Letter){.peer = peer};
    return post->count++;
}

/* Counts each letter's bytes; 0 where Python has to write them. */
static int
post_sort(Post *post, PyObject *batch, PyObject *meta, PyObject *bodies)
{
    Py_ssize_t letter = 0;
    for (Py_ssize_t place = 0; place < PyList_GET_SIZE(batch); place++) {
        PyObject *one = PyList_GET_ITEM(batch, place), *body = PyList_GET_ITEM(bodies, place);
        if (frame_of(one) == NULL || !PyBytes_Check(body)) {
            return 0;
        }
        Py_ssize_t bytes = FRAME_HEADER_SIZE + PyBytes_GET_SIZE(meta) + PyBytes_GET_SIZE(body);
        if ((uint64_t)bytes > UINT32_MAX) {
            return 0;
        }
        letter = post_find(post, ((Waiting *)one)->peer, letter);
        post->letters[letter].bytes += bytes;
        post->letter_of[place] = letter;
    }
    return 1;
}

static int
post_write(Post *post, PyObject *batch, PyObject *meta, PyObject *bodies)
{
    for (Py_ssize_t place = 0; place < post->count; place++) {
        Letter *letter = &post->letters[place];
        letter->encoded = PyBytes_FromStringAndSize(NULL, letter->bytes);
        if (letter->encoded == NULL) {
            return -1;
        }
        letter->at = (unsigned char *)PyBytes_AS_STRING(letter->encoded);
    }
    size_t meta_length = (size_t)PyBytes_GET_SIZE(meta);
    for (Py_ssize_t place = 0; place < PyList_GET_SIZE(batch); place++) {
        Letter *letter = &post->letters[post->letter_of[place]];
        PyObject *body = PyList_GET_ITEM(bodies, place);
        size_t length = (size_t)PyBytes_GET_SIZE(body);
        FrameHeader header = {
            .length = (uint32_t)(FRAME_AFTER_LENGTH + meta_length + length),
            .version = FRAME_VERSION,
            .kind = FRAME_ANSWER,
            .id = frame_of(PyList_GET_ITEM(batch, place))->id,
            .number = 200,
            .meta_length = (uint32_t)meta_length,
        };
        unsigned char *at = frame_write_header(letter->at, &header);
        memcpy(at, PyBytes_AS_STRING(meta), meta_length);
        memcpy(at + meta_length, PyBytes_AS_STRING(body), length);
        letter->at = at + meta_length + length;
    }
    return 0;
}

/* As pairs of a peer and its bytes; NULL with an exception. */
static PyObject *
post_deliver(Post *post)
{
    PyObject *pairs = PyList_New(post->count);
    for (Py_ssize_t place = 0; pairs != NULL && place < post->count; place++) {
        PyObject *pair = PyTuple_Pack(2, post->letters[place].peer, post->letters[place].encoded);
        if (pair == NULL) {
            Py_CLEAR(pairs);
            break;
        }
        PyList_SET_ITEM(pairs, place, pair);
    }
    return pairs;
}

static PyObject *
answers_to(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *batch, *meta, *bodies;
    if (!PyArg_ParseTuple(args, "O!SO!:answers_to", &PyList_Type, &batch, &meta, &PyList_Type,
                          &bodies)) {
        return NULL;
    }
    Py_ssize_t size = PyList_GET_SIZE(batch);
    if (PyList_GET_SIZE(bodies) != size) {
        PyErr_SetString(PyExc_ValueError, "answers_to takes a body for each of the batch");
        return NULL;
    }
    Post post = {
        .letters = PyMem_Calloc((size_t)size + 1, sizeof(Letter)),
        .letter_of = PyMem_Calloc((size_t)size + 1, sizeof(Py_ssize_t)),
    };
    PyObject *result = NULL;
    if (post.letters == NULL || post.letter_of == NULL) {
        PyErr_NoMemory();
    }
    else if (!post_sort(&post, batch, meta, bodies)) {
        result = Py_NewRef(Py_None);
    }
    else if (post_write(&post, batch, meta, bodies) == 0) {
        result = post_deliver(&post);
    }
    for (Py_ssize_t place = 0; place < post.count; place++) {
        Py_XDECREF(post.letters[place].encoded);
    }
    PyMem_Free(post.letters);
    PyMem_Free(post.letter_of);
    return result;
}

static PyMethodDef functions[] = {
    {"waiting_of", waiting_of, METH_VARARGS,
     "waiting_of(frames, start, peer, metas, now): (Waitings, bytes of their bodies) of the requests from start on, up to the "
     "first frame that is none, or whose meta is not known."},
    {"survey", survey, METH_VARARGS,
     "survey(batch, now): (bytes of all bodies, peers); None where one is SOLO or has expired, or was made by Python."},
    {"alike", alike, METH_O,
     "alike(batch): (meta, bodies) of requests without flags and of one meta; None where they are not."},
    {"answers_to", answers_to, METH_VARARGS,
     "answers_to(batch, meta, bodies): (peer, ANSWER frames with status 200) for each peer, in order; None where a body is no "
     "bytes, or a request was made by Python."},
    {0},
};

int
waiting_add(PyObject *module)
{
    if (PyModule_AddType(module, &WaitingType) < 0) {
        return -1;
    }
    return PyModule_AddFunctions(module, functions);
}
