#ifndef MODELYARD_WAITING_H
#define MODELYARD_WAITING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* Adds Waiting, waiting_of, survey, alike and answers_to; -1 with an exception. */
int waiting_add(PyObject *module);

#endif
