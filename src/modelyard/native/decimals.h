#ifndef MODELYARD_DECIMALS_H
#define MODELYARD_DECIMALS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* Adds predictions and deal; -1 with an exception. */
int decimals_add(PyObject *module);

#endif
