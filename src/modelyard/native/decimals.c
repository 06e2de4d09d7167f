/* Predictions as JSON: what frameworks/answers.py makes of float32, and how one text of many rows is dealt out to its owners.

A float32 has 6 to 9 significant digits. Both 10^k and a whole number of nine digits are exact doubles, so that their quotient
is the double nearest to the decimal, and the shortest decimal of a double of so few digits is that one. */

#include "decimals.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#define TENS_MAX 22
#define USUAL 12 /* The exponents of ten, either way, whose powers above and below are exact. */
#define ROOM 24  /* A usual number's text is never longer: -0.000012345678, -1.2345678e-12. */

static const double tens[TENS_MAX + 1] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                          1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                          1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

static const double tenths[USUAL + 1] = {1e0,  1e-1, 1e-2, 1e-3,  1e-4,  1e-5, 1e-6,
                                         1e-7, 1e-8, 1e-9, 1e-10, 1e-11, 1e-12};

static const char opening[] = "{\"predictions\":[", closing[] = "]}";
#define FRAME_OF_TEXT (sizeof(opening) - 1 + sizeof(closing) - 1)

/* The power of ten of the first digit; no float32 is so near to another power that the table's rounding matters. */
static int
exponent_of(double size)
{
    int exponent = 0;
    if (size >= 1.0) {
        while (size >= tens[exponent + 1]) {
            exponent++;
        }
        return exponent;
    }
    do {
        exponent++;
    } while (size < tenths[exponent]);
    return -exponent;
}

/* The fewest digits, of 6 to 9, that read back as this float32: digits * 10^*power; 0 where none do. */
static int64_t
shortest(float value, int exponent, int *power)
{
    double exact = fabs((double)value);
    for (int count = 6; count <= 9; count++) {
        int places = count - 1 - exponent;
        double digits, candidate;
        if (places >= 0) {
            digits = rint(exact * tens[places]);
            candidate = digits / tens[places];
        }
        else {
            digits = rint(exact / tens[-places]);
            candidate = digits * tens[-places];
        }
        if ((float)candidate == (float)exact) {
            *power = -places;
            return (int64_t)digits;
        }
    }
    return 0;
}

static char *
write_zeros(char *at, Py_ssize_t count)
{
    memset(at, '0', (size_t)count);
    return at + count;
}

static char *
write_digits(char *at, const char *digits, Py_ssize_t count)
{
    memcpy(at, digits, (size_t)count);
    return at + count;
}

/* As msgspec writes a double: with an exponent below 10^-5 (there are no usual ones above 10^15). */
static char *
write_decimal(char *at, int64_t whole, int power)
{
    char buffer[ROOM];
    int begin = ROOM;
    while (whole % 10 == 0) {
        whole /= 10;
        power++;
    }
    for (; whole; whole /= 10) {
        buffer[--begin] = (char)('0' + whole % 10);
    }
    const char *digits = buffer + begin;
    int count = ROOM - begin, exponent = count - 1 + power;
    if (power >= 0) {
        at = write_zeros(write_digits(at, digits, count), power);
        return write_digits(at, ".0", 2);
    }
    if (exponent >= 0) {
        at = write_digits(at, digits, exponent + 1);
        *at++ = '.';
        return write_digits(at, digits + exponent + 1, count - exponent - 1);
    }
    if (exponent >= -5) {
        at = write_zeros(write_digits(at, "0.", 2), -exponent - 1);
        return write_digits(at, digits, count);
    }
    *at++ = digits[0];
    if (count > 1) {
        *at++ = '.';
        at = write_digits(at, digits + 1, count - 1);
    }
    at = write_digits(at, "e-", 2);
    if (exponent <= -10) {
        *at++ = (char)('0' + -exponent / 10);
    }
    *at++ = (char)('0' + -exponent % 10);
    return at;
}

/* Up to ROOM bytes; NULL where Python has to write it. */
static char *
write_usual(char *at, float value)
{
    if (signbit(value)) {
        *at++ = '-';
    }
    if (value == 0.0f) {
        return write_digits(at, "0.0", 3);
    }
    double size = fabs((double)value);
    if (!(size >= tenths[USUAL] && size < tens[USUAL])) { /* Nor a NaN. */
        return NULL;
    }
    int power = 0;
    int64_t digits = shortest(value, exponent_of(size), &power);
    return digits ? write_decimal(at, digits, power) : NULL;
}

/* A growing text. */
typedef struct {
    char *begin;
    char *at;
    char *end;
} Text;

/* Makes room for so many bytes; -1 with an exception. */
static int
text_reserve(Text *text, Py_ssize_t bytes)
{
    if (text->end - text->at >= bytes) {
        return 0;
    }
    Py_ssize_t used = text->at - text->begin, room = 2 * (used + bytes);
    char *begin = PyMem_Realloc(text->begin, (size_t)room);
    if (begin == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    text->begin = begin;
    text->at = begin + used;
    text->end = begin + room;
    return 0;
}

/* ``rare`` writes what is not usual; -1 with an exception. */
static int
text_write_number(Text *text, float value, PyObject *rare)
{
    if (text_reserve(text, ROOM + 2) < 0) {
        return -1;
    }
    char *at = write_usual(text->at, value);
    if (at != NULL) {
        text->at = at;
        return 0;
    }
    PyObject *written = PyObject_CallFunction(rare, "d", (double)value);
    if (written == NULL) {
        return -1;
    }
    if (!PyBytes_Check(written)) {
        PyErr_SetString(PyExc_TypeError, "a rare number's text has to be bytes");
    }
    if (PyErr_Occurred() || text_reserve(text, PyBytes_GET_SIZE(written) + 2) < 0) {
        Py_DECREF(written);
        return -1;
    }
    text->at = write_digits(text->at, PyBytes_AS_STRING(written), PyBytes_GET_SIZE(written));
    Py_DECREF(written);
    return 0;
}

/* How elements of the first axis are written: as numbers or lists of a JSON array, or as lines of CSV. */
typedef enum { NUMBERS, LISTS, LINES } Layout;

/* One element of the first axis, which has ``width`` numbers. */
static int
text_write_row(Text *text, const float *values, Py_ssize_t width, Layout layout, PyObject *rare)
{
    if (text_reserve(text, 2) < 0) {
        return -1;
    }
    if (layout == LISTS) {
        *text->at++ = '[';
    }
    for (Py_ssize_t place = 0; place < width; place++) {
        if (text_write_number(text, values[place], rare) < 0) {
            return -1;
        }
        *text->at++ = ','; /* There is room for two more. */
    }
    text->at -= width > 0; /* The last comma. */
    if (layout == LISTS) {
        *text->at++ = ']';
    }
    else if (layout == LINES) {
        *text->at++ = '\n';
    }
    return 0;
}

/* So many rows from *values on as one body; NULL with an exception. */
static PyObject *
predictions_of(Text *text, const float **values, Py_ssize_t rows, Py_ssize_t width, Layout layout,
               PyObject *rare)
{
    text->at = text->begin;
    if (text_reserve(text, (Py_ssize_t)FRAME_OF_TEXT) < 0) {
        return NULL;
    }
    if (layout != LINES) {
        text->at = write_digits(text->at, opening, sizeof(opening) - 1);
    }
    for (Py_ssize_t row = 0; row < rows; row++) {
        if (text_write_row(text, *values, width, layout, rare) < 0) {
            return NULL;
        }
        *values += width;
        if (text_reserve(text, 4) < 0) {
            return NULL;
        }
        if (row + 1 < rows && layout != LINES) {
            *text->at++ = ',';
        }
    }
    if (text_reserve(text, sizeof(closing)) < 0) {
        return NULL;
    }
    if (layout != LINES) {
        text->at = write_digits(text->at, closing, sizeof(closing) - 1);
    }
    return PyBytes_FromStringAndSize(text->begin, text->at - text->begin);
}

/* How many rows all members have together; -1 with an exception. */
static Py_ssize_t
sum_of(PyObject *counts)
{
    Py_ssize_t sum = 0;
    for (Py_ssize_t place = 0; place < PyList_GET_SIZE(counts); place++) {
        Py_ssize_t count = PyLong_AsSsize_t(PyList_GET_ITEM(counts, place));
        if (count < 0 || count > PY_SSIZE_T_MAX - sum) {
            if (!PyErr_Occurred()) {
                PyErr_SetString(PyExc_ValueError, "counts are numbers of rows");
            }
            return -1;
        }
        sum += count;
    }
    return sum;
}

/* A body for each of ``counts``; NULL with an exception. */
static PyObject *
bodies_of(const Py_buffer *view, PyObject *counts, PyObject *rare, int is_csv)
{
    const float *values = view->buf;
    Py_ssize_t width = view->ndim == 2 ? view->shape[1] : 1;
    Layout layout = is_csv ? LINES : view->ndim == 2 ? LISTS : NUMBERS;
    PyObject *bodies = PyList_New(PyList_GET_SIZE(counts));
    Text text = {NULL, NULL, NULL};
    for (Py_ssize_t place = 0; bodies != NULL && place < PyList_GET_SIZE(bodies); place++) {
        Py_ssize_t rows = PyLong_AsSsize_t(PyList_GET_ITEM(counts, place));
        PyObject *body = predictions_of(&text, &values, rows, width, layout, rare);
        if (body == NULL) {
            Py_CLEAR(bodies);
            break;
        }
        PyList_SET_ITEM(bodies, place, body);
    }
    PyMem_Free(text.begin);
    return bodies;
}

/* Whether all are numbers, which is all that C writes as CSV, and there are any. */
static int
is_finite(const Py_buffer *view)
{
    const float *values = view->buf;
    Py_ssize_t count = view->len / (Py_ssize_t)sizeof(float);
    for (Py_ssize_t place = 0; place < count; place++) {
        if (!isfinite(values[place])) {
            return 0;
        }
    }
    return count > 0;
}

static PyObject *
predictions(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *output, *counts, *rare;
    int is_csv = 0;
    if (!PyArg_ParseTuple(args, "OO!O|p:predictions", &output, &PyList_Type, &counts, &rare,
                          &is_csv)) {
        return NULL;
    }
    Py_ssize_t sum = sum_of(counts);
    if (sum < 0) {
        return NULL;
    }
    Py_buffer view;
    if (PyObject_GetBuffer(output, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) < 0) {
        PyErr_Clear(); /* Of a layout, or a type, that is Python's. */
        Py_RETURN_NONE;
    }
    PyObject *result;
    if (strcmp(view.format, "f") != 0 || view.ndim < 1 || view.ndim > 2 || view.shape[0] != sum) {
        result = Py_NewRef(Py_None);
    }
    else if (is_csv && !is_finite(&view)) {
        result = Py_NewRef(Py_None);
    }
    else {
        result = bodies_of(&view, counts, rare, is_csv);
    }
    PyBuffer_Release(&view);
    return result;
}

/* Where the next element of an array's text ends: at a comma or a bracket that is not its own. */
static const char *
end_of_element(const char *at, const char *end)
{
    int depth = 0;
    for (; at < end; at++) {
        if (*at == '[') {
            depth++;
        }
        else if (*at == ']' && depth-- == 0) {
            break;
        }
        else if (*at == ',' && depth == 0) {
            break;
        }
    }
    return at;
}

static PyObject *
deal(PyObject *module, PyObject *args)
{
    (void)module;
    const char *at;
    Py_ssize_t length;
    PyObject *counts;
    if (!PyArg_ParseTuple(args, "y#O!:deal", &at, &length, &PyList_Type, &counts) ||
        sum_of(counts) < 0) {
        return NULL;
    }
    const char *end = at + length;
    at++; /* Behind the bracket. */
    PyObject *bodies = PyList_New(PyList_GET_SIZE(counts));
    for (Py_ssize_t place = 0; bodies != NULL && place < PyList_GET_SIZE(counts); place++) {
        const char *begin = at, *last = at;
        for (Py_ssize_t row = PyLong_AsSsize_t(PyList_GET_ITEM(counts, place)); row > 0; row--) {
            last = end_of_element(at, end);
            at = last + 1;
        }
        PyObject *body = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)FRAME_OF_TEXT + last - begin);
        if (body == NULL) {
            Py_CLEAR(bodies);
            break;
        }
        char *to = write_digits(PyBytes_AS_STRING(body), opening, sizeof(opening) - 1);
        to = write_digits(to, begin, last - begin);
        write_digits(to, closing, sizeof(closing) - 1);
        PyList_SET_ITEM(bodies, place, body);
    }
    return bodies;
}

static PyMethodDef functions[] = {
    {"deal", deal, METH_VARARGS,
     "deal(text, counts): a JSON body for each count of the elements of a JSON array of numbers, or of lists of them."},
    {"predictions", predictions, METH_VARARGS,
     "predictions(output, counts, rare, is_csv=False): a body for each count of rows of float32; None where Python has to write "
     "them. ``rare`` writes a float that is tiny, huge or none."},
    {0},
};

int
decimals_add(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
