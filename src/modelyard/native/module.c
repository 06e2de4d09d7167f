/* The extension module: one table of what the other files of this folder define. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "hashing.h"

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "modelyard.native._native",
    .m_doc = "The hot paths in C; modelyard.native says what they are.",
    .m_size = -1,
};

PyMODINIT_FUNC
PyInit__native(void)
{
    PyObject *module = PyModule_Create(&definition);
    if (module == NULL) {
        return NULL;
    }
    if (hashing_add(module) < 0) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
