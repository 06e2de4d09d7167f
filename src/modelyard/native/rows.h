#ifndef MODELYARD_ROWS_H
#define MODELYARD_ROWS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* Adds rows; -1 with an exception. */
int rows_add(PyObject *module);

#endif
