/* The extension module: one table of what the other files of this folder define. */

#include "client.h"
#include "decimals.h"
#include "frames.h"
#include "hashing.h"
#include "rows.h"
#include "signed.h"
#include "waiting.h"

#ifndef MODELYARD_SOURCES /* setup.py says: the digest of the files that this is built of. */
#define MODELYARD_SOURCES ""
#endif

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "modelyard.native._native",
    .m_doc = "The hot paths in C; modelyard.native says what they are.",
    .m_size = -1,
};

/* Each adds what its file defines; -1 with an exception. */
static int (*const parts[])(PyObject *module) = {
    decimals_add,
    frames_add,
    hashing_add,
    rows_add,
    signed_add,
    waiting_add,
    line_add,
    port_add,
    lane_add,
    trip_add,
    client_add,
};

PyMODINIT_FUNC
PyInit__native(void)
{
    PyObject *module = PyModule_Create(&definition);
    if (module == NULL) {
        return NULL;
    }
    for (size_t place = 0; place < sizeof(parts) / sizeof(parts[0]); place++) {
        if (parts[place](module) < 0) {
            Py_DECREF(module);
            return NULL;
        }
    }
    if (PyModule_AddStringConstant(module, "sources", MODELYARD_SOURCES) < 0) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
