/* Requests of one form by one signer, verified as bytes: what gateway/heads.py and wire/repeated.py say together.

   A ``Signed`` is made by wire/signed.py. It says yes only to the very request and body that its key signed, at this time;
   where it says no, Python is asked. It knows nothing of keys that were revoked since it was made: whoever holds it does. */

#ifndef MODELYARD_SIGNED_H
#define MODELYARD_SIGNED_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

typedef struct SignedObject SignedObject;

extern PyTypeObject SignedType;

/* The length of its body that a head of this form declares; -1 for any other head. ``head`` ends with its empty line. */
Py_ssize_t signed_length(const SignedObject *self, const char *head, Py_ssize_t head_size);

/* 1 where the head is of this form, the body has the length that it declares, and both are signed by the key; else 0.
   ``now`` is Unix seconds. Neither raises nor allocates, and needs no lock: nothing of ``self`` changes. */
int signed_verify(const SignedObject *self, const char *head, Py_ssize_t head_size, const char *body,
                  Py_ssize_t body_size, double now);

int signed_add(PyObject *module); /* -1 with an exception set where it fails. */

#endif
