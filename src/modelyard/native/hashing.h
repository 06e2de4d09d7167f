/* The hashes of sha256.h for Python. */

#ifndef MODELYARD_HASHING_H
#define MODELYARD_HASHING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

int hashing_add(PyObject *module); /* -1 with an exception set where it fails. */

#endif
