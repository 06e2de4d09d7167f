/* Requests of one form by one signer, verified as bytes; signed.h says what that promises. */

#include "signed.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "sha256.h"

#define VALUES_MAX 12
#define TIMESTAMP_SIZE 16
#define DATE_SIZE 8
#define LENGTH_DIGITS 12
#define OF_BODY (-1) /* The hole for the hash of the body; others are for the value of their number. */
#define NO_VALUE (-1)
#define ALGORITHM "AWS4-HMAC-SHA256\n"
#define UNSIGNED "UNSIGNED-PAYLOAD"

typedef struct {
    const char *start;
    Py_ssize_t size;
} Text;

struct SignedObject {
    PyObject_HEAD
    PyObject *pieces, *canonical; /* Tuples of bytes, which the texts below lie in. */
    int values;
    Text around[VALUES_MAX + 1]; /* A head is these, with a value after each but the last. */
    int holes;
    Text between[VALUES_MAX + 2]; /* A canonical request is these, with a hole after each but the last. */
    int hole[VALUES_MAX + 1];
    Sha256 begun; /* Has taken what stands before the first hole. */
    int authorization, timestamp, length, declared; /* Which value is whose; ``declared`` may be none. */
    PyObject *before_signature, *scope;             /* Bytes. */
    char date[DATE_SIZE];
    double midnight, skew; /* Of the date, in Unix seconds; and how many seconds a clock may be wrong. */
    HmacKey key;
};

/* ---- reading a head */

/* The end of a value of printable ASCII, without spaces around it or two in a row; NULL where there are.
   A carriage return ends it. The loop leaves early for nothing, so that a compiler takes many bytes at once. */
static const char *
end_of_value(const char *at, const char *end)
{
    const char *stop = memchr(at, '\r', (size_t)(end - at));
    if (stop == NULL || stop == at) {
        return stop;
    }
    int is_wrong = (*at == ' ') | (stop[-1] == ' ');
    for (; at < stop; at++) {
        is_wrong |= (*at < ' ') | (*at > '~') | ((at[0] == ' ') & (at[1] == ' '));
    }
    return is_wrong ? NULL : stop;
}

/* Whether the head is of this form, whose values are found then. */
static int
read_values(const SignedObject *self, const char *head, Py_ssize_t head_size, Text values[VALUES_MAX])
{
    const char *at = head, *end = head + head_size;
    for (int i = 0;; i++) {
        const Text *piece = &self->around[i];
        if (end - at < piece->size || memcmp(at, piece->start, (size_t)piece->size) != 0) {
            return 0;
        }
        at += piece->size;
        if (i == self->values) {
            return at == end;
        }
        values[i].start = at;
        at = end_of_value(at, end);
        if (at == NULL) {
            return 0;
        }
        values[i].size = at - values[i].start;
    }
}

static Py_ssize_t
length_of(const Text *value)
{
    if (value->size < 1 || value->size > LENGTH_DIGITS) {
        return -1;
    }
    int64_t length = 0;
    for (Py_ssize_t i = 0; i < value->size; i++) {
        char digit = value->start[i];
        if (digit < '0' || digit > '9') {
            return -1;
        }
        length = length * 10 + (digit - '0');
    }
    return length <= PY_SSIZE_T_MAX ? (Py_ssize_t)length : -1;
}

/* ---- verifying it */

/* The number that two digits say; -1 where they are none, or it is not below the limit. */
static int
two_digits(const char *at, int limit)
{
    if (at[0] < '0' || at[0] > '9' || at[1] < '0' || at[1] > '9') {
        return -1;
    }
    int number = (at[0] - '0') * 10 + (at[1] - '0');
    return number < limit ? number : -1;
}

/* Whether it is YYYYMMDDTHHMMSSZ, of the date that the key is for, and near to now. */
static int
is_timely(const SignedObject *self, const Text *timestamp, double now)
{
    const char *at = timestamp->start;
    if (timestamp->size != TIMESTAMP_SIZE || memcmp(at, self->date, DATE_SIZE) != 0 || at[8] != 'T'
        || at[15] != 'Z') {
        return 0;
    }
    int hours = two_digits(at + 9, 24), minutes = two_digits(at + 11, 60);
    int seconds = two_digits(at + 13, 60);
    if (hours < 0 || minutes < 0 || seconds < 0) {
        return 0;
    }
    double signed_at = self->midnight + hours * 3600 + minutes * 60 + seconds;
    return fabs(now - signed_at) <= self->skew; /* Which is false of what is no number. */
}

static int
is_declared(const Text *value, const char digest[SHA256_HEX])
{
    return value->size == 0
        || (value->size == SHA256_HEX && memcmp(value->start, digest, SHA256_HEX) == 0)
        || (value->size == sizeof UNSIGNED - 1
            && memcmp(value->start, UNSIGNED, sizeof UNSIGNED - 1) == 0);
}

static void
take(Sha256 *hash, const Text *text)
{
    sha256_update(hash, text->start, (size_t)text->size);
}

static void
hash_canonical(const SignedObject *self, const Text *values, const char digest[SHA256_HEX],
               char out[SHA256_HEX])
{
    Sha256 hash = self->begun;
    for (int i = 0; i < self->holes; i++) {
        if (self->hole[i] == OF_BODY) {
            sha256_update(&hash, digest, SHA256_HEX);
        } else {
            take(&hash, &values[self->hole[i]]);
        }
        take(&hash, &self->between[i + 1]);
    }
    sha256_end_hex(&hash, out);
}

static void
sign(const SignedObject *self, const Text *timestamp, const char canonical[SHA256_HEX],
     char out[SHA256_HEX])
{
    Sha256 hash;
    hmac_begin(&self->key, &hash);
    sha256_update(&hash, ALGORITHM, sizeof ALGORITHM - 1);
    take(&hash, timestamp);
    sha256_update(&hash, "\n", 1);
    sha256_update(&hash, PyBytes_AS_STRING(self->scope), (size_t)PyBytes_GET_SIZE(self->scope));
    sha256_update(&hash, "\n", 1);
    sha256_update(&hash, canonical, SHA256_HEX);
    hmac_end_hex(&self->key, &hash, out);
}

/* Takes as long wherever they differ: how much of a signature was guessed cannot be measured. */
static int
is_same_signature(const char *one, const char *other)
{
    volatile unsigned char different = 0;
    for (int i = 0; i < SHA256_HEX; i++) {
        different |= (unsigned char)(one[i] ^ other[i]);
    }
    return different == 0;
}

Py_ssize_t
signed_length(const SignedObject *self, const char *head, Py_ssize_t head_size)
{
    Text values[VALUES_MAX];
    return read_values(self, head, head_size, values) ? length_of(&values[self->length]) : -1;
}

int
signed_verify(const SignedObject *self, const char *head, Py_ssize_t head_size, const char *body,
              Py_ssize_t body_size, double now)
{
    Text values[VALUES_MAX];
    if (body_size < 0 || !read_values(self, head, head_size, values)
        || length_of(&values[self->length]) != body_size) {
        return 0;
    }
    const Text *timestamp = &values[self->timestamp], *authorization = &values[self->authorization];
    const size_t before = (size_t)PyBytes_GET_SIZE(self->before_signature);
    if (!is_timely(self, timestamp, now) || authorization->size != (Py_ssize_t)before + SHA256_HEX
        || memcmp(authorization->start, PyBytes_AS_STRING(self->before_signature), before) != 0) {
        return 0;
    }
    char digest[SHA256_HEX], canonical[SHA256_HEX], signature[SHA256_HEX];
    Sha256 hash;
    sha256_begin_with(&hash, self->begun.blocks);
    sha256_update(&hash, body, (size_t)body_size);
    sha256_end_hex(&hash, digest);
    if (self->declared != NO_VALUE && !is_declared(&values[self->declared], digest)) {
        return 0;
    }
    hash_canonical(self, values, digest, canonical);
    sign(self, timestamp, canonical, signature);
    return is_same_signature(signature, authorization->start + before);
}

/* ---- the type */

/* The texts of a tuple of bytes; their number, or -1 with an exception set. */
static int
read_texts(PyObject *tuple, Text *texts, Py_ssize_t limit)
{
    Py_ssize_t count = PyTuple_GET_SIZE(tuple);
    if (count < 1 || count > limit) {
        PyErr_Format(PyExc_ValueError, "there are 1 to %zd texts, not %zd", limit, count);
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *item = PyTuple_GET_ITEM(tuple, i);
        if (!PyBytes_CheckExact(item)) {
            PyErr_SetString(PyExc_TypeError, "a text is bytes");
            return -1;
        }
        texts[i].start = PyBytes_AS_STRING(item);
        texts[i].size = PyBytes_GET_SIZE(item);
    }
    return (int)count;
}

static int
read_holes(SignedObject *self, PyObject *holes)
{
    if (PyTuple_GET_SIZE(holes) != self->holes) {
        PyErr_SetString(PyExc_ValueError, "holes are between the texts of a canonical request");
        return -1;
    }
    for (int i = 0; i < self->holes; i++) {
        long hole = PyLong_AsLong(PyTuple_GET_ITEM(holes, i));
        if (hole == -1 && PyErr_Occurred()) {
            return -1;
        }
        if (hole < OF_BODY || hole >= self->values) {
            PyErr_SetString(PyExc_ValueError, "a hole is for a value, or -1 for the body's hash");
            return -1;
        }
        self->hole[i] = (int)hole;
    }
    return 0;
}

/* Whether each place is one of a value. */
static int
check_places(const SignedObject *self)
{
    const int places[] = {self->authorization, self->timestamp, self->length};
    int is_right = self->declared >= NO_VALUE && self->declared < self->values;
    for (int i = 0; i < 3; i++) {
        is_right = is_right && places[i] >= 0 && places[i] < self->values;
    }
    if (!is_right) {
        PyErr_SetString(PyExc_ValueError, "a place is that of a value");
        return -1;
    }
    return 0;
}

static int
fill(SignedObject *self, PyObject *arguments, PyObject *named)
{
    static char *names[] = {"pieces",   "canonical", "holes",    "authorization", "timestamp",
                            "length",   "declared",  "before_signature",          "scope",
                            "date",     "midnight",  "skew",     "key",           "portable", NULL};
    PyObject *pieces, *canonical, *holes, *before, *scope;
    const char *date, *key;
    Py_ssize_t date_size, key_size;
    int portable = 0;
    if (!PyArg_ParseTupleAndKeywords(
            arguments, named, "O!O!O!iiiiSSy#ddy#|$p:Signed", names, &PyTuple_Type, &pieces,
            &PyTuple_Type, &canonical, &PyTuple_Type, &holes, &self->authorization,
            &self->timestamp, &self->length, &self->declared, &before, &scope, &date, &date_size,
            &self->midnight, &self->skew, &key, &key_size, &portable)) {
        return -1;
    }
    self->pieces = Py_NewRef(pieces);
    self->canonical = Py_NewRef(canonical);
    self->before_signature = Py_NewRef(before);
    self->scope = Py_NewRef(scope);
    self->values = read_texts(pieces, self->around, VALUES_MAX + 1) - 1;
    self->holes = self->values < 0 ? -1 : read_texts(canonical, self->between, VALUES_MAX + 2) - 1;
    if (self->values < 0 || self->holes < 0 || read_holes(self, holes) < 0 || check_places(self) < 0) {
        return -1;
    }
    if (date_size != DATE_SIZE || key_size != SHA256_BYTES) {
        PyErr_SetString(PyExc_ValueError, "a date has 8 digits, and a key 32 bytes");
        return -1;
    }
    memcpy(self->date, date, DATE_SIZE);
    Sha256Blocks *blocks = portable ? sha256_portable : sha256_fastest;
    hmac_key_with(&self->key, key, SHA256_BYTES, blocks);
    sha256_begin_with(&self->begun, blocks);
    take(&self->begun, &self->between[0]);
    return 0;
}

static PyObject *
signed_new(PyTypeObject *type, PyObject *arguments, PyObject *named)
{
    SignedObject *self = (SignedObject *)type->tp_alloc(type, 0);
    if (self != NULL && fill(self, arguments, named) < 0) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static void
signed_dealloc(PyObject *object)
{
    SignedObject *self = (SignedObject *)object;
    Py_XDECREF(self->pieces);
    Py_XDECREF(self->canonical);
    Py_XDECREF(self->before_signature);
    Py_XDECREF(self->scope);
    Py_TYPE(self)->tp_free(object);
}

static PyObject *
py_verify(PyObject *self, PyObject *arguments)
{
    PyObject *data;
    Py_ssize_t head_end;
    double now;
    if (!PyArg_ParseTuple(arguments, "Snd:verify", &data, &head_end, &now)) {
        return NULL;
    }
    const char *start = PyBytes_AS_STRING(data);
    Py_ssize_t size = PyBytes_GET_SIZE(data);
    if (head_end < 0 || head_end > size) {
        Py_RETURN_FALSE;
    }
    return PyBool_FromLong(signed_verify((SignedObject *)self, start, head_end, start + head_end,
                                         size - head_end, now));
}

static PyObject *
py_length(PyObject *self, PyObject *head)
{
    if (!PyBytes_Check(head)) {
        return PyErr_Format(PyExc_TypeError, "a head is bytes");
    }
    return PyLong_FromSsize_t(signed_length((SignedObject *)self, PyBytes_AS_STRING(head),
                                            PyBytes_GET_SIZE(head)));
}

static PyMethodDef methods[] = {
    {"verify", py_verify, METH_VARARGS,
     PyDoc_STR("verify(data, head_end, now, /): whether this request and body are signed.")},
    {"length", py_length, METH_O,
     PyDoc_STR("length(head, /): of its body, as a head of this form declares it; else -1.")},
    {NULL, NULL, 0, NULL},
};

PyTypeObject SignedType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "modelyard.native._native.Signed",
    .tp_doc = PyDoc_STR("Verifies requests of one form by one signer; made by modelyard.wire.signed."),
    .tp_basicsize = sizeof(SignedObject),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = signed_new,
    .tp_dealloc = signed_dealloc,
    .tp_methods = methods,
};

int
signed_add(PyObject *module)
{
    return PyModule_AddType(module, &SignedType);
}
