/* Bodies of one batch to float64 cells: what frameworks/bodies.py makes of JSON and CSV that hold plain numbers only.

What is read here is a part of each grammar. A body is either understood to its end, and then means what it means to bodies.py,
or the answer is None, and Python says what it is and what is wrong with it. All bodies are bytes, behind whose end lies a NUL,
which belongs to no grammar: every loop ends there. */

#include "rows.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#if FLT_EVAL_METHOD != 0
#error "A quotient has to be rounded once; without this file's C everything is Python's."
#endif

#define EXACT 9007199254740992 /* 2^53: whole numbers up to here are exact. */
#define TENS_MAX 22            /* The last power of ten that is. */
#define FIVES_MAX 27           /* The last power of five that fits into 63 bits. */
#define DIGITS_MAX 19          /* So many always fit into 64. */

static const double tens[TENS_MAX + 1] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                          1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                          1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

typedef const unsigned char *Cursor;

/* One number's digits: digits * 10^exponent. */
typedef struct {
    uint64_t digits;
    int exponent;
    int is_negative;
    int is_float; /* It has a point or an exponent. */
} Decimal;

static inline int
is_digit(unsigned char byte)
{
    return (unsigned char)(byte - '0') < 10;
}

/* JSON's grammar of a number, of at most DIGITS_MAX digits behind leading zeros; 0 where Python has to look. */
static int
read_decimal(Cursor *cursor, Decimal *found)
{
    Cursor at = *cursor;
    uint64_t digits = 0;
    found->is_negative = *at == '-';
    at += found->is_negative;
    Cursor begin = at;
    for (; is_digit(*at); at++) {
        digits = digits * 10 + (uint64_t)(*at - '0');
    }
    Py_ssize_t count = at - begin;
    if (count == 0 || (count > 1 && *begin == '0')) {
        return 0;
    }
    found->exponent = 0;
    found->is_float = *at == '.';
    if (found->is_float) {
        begin = ++at;
        if (digits == 0) { /* Zeros before the first other digit are no digits of the number. */
            for (count = 0; *at == '0'; at++) {
            }
        }
        Cursor first = at;
        for (; is_digit(*at); at++) {
            digits = digits * 10 + (uint64_t)(*at - '0');
        }
        count += at - first;
        if (at == begin || at - begin > 1000) {
            return 0;
        }
        found->exponent = -(int)(at - begin);
    }
    if (count > DIGITS_MAX) {
        return 0;
    }
    if (*at == 'e' || *at == 'E') {
        at++;
        int is_small = *at == '-', exponent = 0;
        at += *at == '-' || *at == '+';
        for (begin = at; is_digit(*at) && at - begin < 4; at++) {
            exponent = exponent * 10 + (*at - '0');
        }
        if (at == begin || is_digit(*at)) {
            return 0;
        }
        found->exponent += is_small ? -exponent : exponent;
        found->is_float = 1;
    }
    found->digits = digits;
    *cursor = at;
    return 1;
}

#ifdef __SIZEOF_INT128__

static const uint64_t fives[FIVES_MAX + 1] = {
    1, 5, 25, 125, 625, 3125, 15625, 78125, 390625, 1953125, 9765625, 48828125, 244140625,
    1220703125, 6103515625, 30517578125, 152587890625, 762939453125, 3814697265625,
    19073486328125, 95367431640625, 476837158203125, 2384185791015625, 11920928955078125,
    59604644775390625, 298023223876953125, 1490116119384765625, 7450580596923828125,
};

/* digits / 10^places, rounded once. The quotient of whole numbers has 63 or 64 bits; what is left of the division becomes
   its last bit, far below what a double holds, so that the one rounding of a whole number to a double is that of the value. */
static double
quotient(uint64_t digits, int places)
{
    int up = __builtin_clzll(digits), down = __builtin_clzll(fives[places]);
    unsigned __int128 numerator = (unsigned __int128)(digits << up) << 63;
    uint64_t divisor = fives[places] << down;
    uint64_t result = (uint64_t)(numerator / divisor);
    result |= numerator % divisor != 0;
    return ldexp((double)result, down - up - 63 - places);
}

#endif

/* The double nearest to a decimal; 0 where Python has to find it. */
static int
nearest(const Decimal *decimal, double *value)
{
    uint64_t digits = decimal->digits;
    int exponent = decimal->exponent;
    if (!decimal->is_float) {
        if (digits >= EXACT) {
            return 0;
        }
        *value = decimal->is_negative && digits ? -(double)digits : (double)digits;
        return 1;
    }
    double found;
    if (digits == 0) {
        found = 0.0;
    }
    else if (digits <= EXACT && exponent <= 0 && exponent >= -TENS_MAX) {
        found = (double)digits / tens[-exponent]; /* Both are exact: one rounding. */
    }
    else if (digits <= EXACT && exponent > 0 && exponent <= TENS_MAX) {
        found = (double)digits * tens[exponent];
    }
#ifdef __SIZEOF_INT128__
    else if (exponent < 0 && exponent >= -FIVES_MAX) {
        found = quotient(digits, -exponent);
    }
#endif
    else {
        return 0;
    }
    *value = decimal->is_negative ? -found : found;
    return 1;
}

/* Cells of all rows so far. */
typedef struct {
    double *cells;
    Py_ssize_t count;
    Py_ssize_t room;
    Py_ssize_t width; /* Of the first row; 0 before its end. */
    Py_ssize_t begin; /* Of the row that is read. */
    Py_ssize_t rows;  /* Of the body that is read. */
    int has_no_memory;
} Table;

static int
table_grow(Table *table)
{
    Py_ssize_t room = table->room * 2;
    double *cells = PyMem_Realloc(table->cells, (size_t)room * sizeof(double));
    if (cells == NULL) {
        table->has_no_memory = 1;
        return 0;
    }
    table->cells = cells;
    table->room = room;
    return 1;
}

static inline int
read_cell(Cursor *cursor, Table *table)
{
    Decimal decimal;
    if (table->count == table->room && !table_grow(table)) {
        return 0;
    }
    return read_decimal(cursor, &decimal) && nearest(&decimal, &table->cells[table->count++]);
}

/* Whether the row is as wide as the others. */
static int
end_row(Table *table)
{
    Py_ssize_t width = table->count - table->begin;
    if (table->width == 0) {
        table->width = width;
    }
    table->begin = table->count;
    table->rows++;
    return width == table->width;
}

/* JSON */

static inline Cursor
skip_space(Cursor at)
{
    while (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t') {
        at++;
    }
    return at;
}

/* Numbers up to a closing bracket, behind the opening one. */
static int
read_list(Cursor *cursor, Table *table)
{
    for (;;) {
        *cursor = skip_space(*cursor);
        if (!read_cell(cursor, table)) {
            return 0;
        }
        if (**cursor != ',') {
            *cursor = skip_space(*cursor);
        }
        if (**cursor == ']') {
            ++*cursor;
            return end_row(table);
        }
        if (*(*cursor)++ != ',') {
            return 0;
        }
    }
}

/* A list of numbers, which is one row, or a list of such lists. */
static int
read_lists(Cursor *cursor, Table *table)
{
    if (*(*cursor)++ != '[') {
        return 0;
    }
    *cursor = skip_space(*cursor);
    if (**cursor != '[') {
        return read_list(cursor, table);
    }
    for (;;) {
        if (*(*cursor)++ != '[' || !read_list(cursor, table)) {
            return 0;
        }
        *cursor = skip_space(*cursor);
        if (**cursor == ']') {
            ++*cursor;
            return 1;
        }
        if (*(*cursor)++ != ',') {
            return 0;
        }
        *cursor = skip_space(*cursor);
    }
}

/* Behind the opening brace: the one name that may be there, and the colon. */
static int
read_name(Cursor *cursor)
{
    static const char *const names[] = {"\"instances\"", "\"inputs\""};
    *cursor = skip_space(*cursor);
    for (size_t place = 0; place < sizeof(names) / sizeof(names[0]); place++) {
        size_t length = strlen(names[place]);
        if (strncmp((const char *)*cursor, names[place], length) == 0) {
            *cursor = skip_space(*cursor + length);
            return *(*cursor)++ == ':';
        }
    }
    return 0;
}

static int
read_json(Cursor at, Cursor end, Table *table)
{
    at = skip_space(at);
    int is_object = *at == '{';
    if (is_object) {
        at++;
        if (!read_name(&at)) {
            return 0;
        }
        at = skip_space(at);
    }
    if (!read_lists(&at, table)) {
        return 0;
    }
    at = skip_space(at);
    if (is_object) {
        if (*at++ != '}') {
            return 0;
        }
        at = skip_space(at);
    }
    return at == end;
}

/* CSV */

static int
read_csv(Cursor at, Cursor end, Table *table)
{
    while (end > at && (end[-1] == '\n' || end[-1] == '\r')) {
        end--;
    }
    for (;;) {
        if (!read_cell(&at, table) || fabs(table->cells[table->count - 1]) >= (double)EXACT) {
            return 0;
        }
        if (*at == ',' && at < end) {
            at++;
            continue;
        }
        if (!end_row(table)) {
            return 0;
        }
        if (at >= end) {
            return at == end;
        }
        at += at[0] == '\r' && at[1] == '\n';
        if (*at++ != '\n') {
            return 0;
        }
    }
}

/* The rows of each body as a list; NULL without an exception where Python has to look. */
static PyObject *
read_bodies(PyObject *bodies, int is_csv, Table *table)
{
    PyObject *counts = PyList_New(PyList_GET_SIZE(bodies));
    for (Py_ssize_t place = 0; counts != NULL && place < PyList_GET_SIZE(bodies); place++) {
        PyObject *body = PyList_GET_ITEM(bodies, place);
        if (!PyBytes_Check(body)) {
            PyErr_SetString(PyExc_TypeError, "rows takes bodies that are bytes");
            Py_CLEAR(counts);
            break;
        }
        Cursor begin = (Cursor)PyBytes_AS_STRING(body), end = begin + PyBytes_GET_SIZE(body);
        table->rows = 0;
        int is_read = is_csv ? read_csv(begin, end, table) : read_json(begin, end, table);
        PyObject *count = is_read ? PyLong_FromSsize_t(table->rows) : NULL;
        if (count == NULL) {
            Py_CLEAR(counts);
            break;
        }
        PyList_SET_ITEM(counts, place, count);
    }
    return counts;
}

static PyObject *
rows(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *bodies;
    int is_csv;
    if (!PyArg_ParseTuple(args, "O!p:rows", &PyList_Type, &bodies, &is_csv)) {
        return NULL;
    }
    Table table = {.room = 128}; /* Of a lone small row; it doubles. */
    table.cells = PyMem_Malloc((size_t)table.room * sizeof(double));
    if (table.cells == NULL) {
        return PyErr_NoMemory();
    }
    PyObject *result = NULL, *counts = read_bodies(bodies, is_csv, &table);
    if (table.has_no_memory) {
        PyErr_NoMemory();
    }
    else if (counts != NULL) {
        PyObject *cells = PyByteArray_FromStringAndSize(
            (const char *)table.cells, table.count * (Py_ssize_t)sizeof(double));
        result = cells == NULL ? NULL : Py_BuildValue("NnO", cells, table.width, counts);
    }
    PyMem_Free(table.cells);
    Py_XDECREF(counts);
    if (result == NULL && !PyErr_Occurred()) {
        Py_RETURN_NONE;
    }
    return result;
}

static PyMethodDef functions[] = {
    {"rows", rows, METH_VARARGS,
     "rows(bodies, is_csv): (cells, width, rows of each body); None where Python has to look at them."},
    {0},
};

int
rows_add(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
