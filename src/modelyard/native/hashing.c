/* The hashes of sha256.h for Python, which holds them against hashlib's: also those for other CPUs than this one. */

#include "hashing.h"

#include "sha256.h"

static Sha256Blocks *
chosen(int portable)
{
    return portable ? sha256_portable : sha256_fastest;
}

static PyObject *
sha256_hex(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    Py_buffer data;
    int portable = 0;
    if (!PyArg_ParseTuple(arguments, "y*|p:sha256_hex", &data, &portable)) {
        return NULL;
    }
    char digits[SHA256_HEX];
    Sha256 hash;
    sha256_begin_with(&hash, chosen(portable));
    sha256_update(&hash, data.buf, (size_t)data.len);
    sha256_end_hex(&hash, digits);
    PyBuffer_Release(&data);
    return PyUnicode_FromStringAndSize(digits, SHA256_HEX);
}

static PyObject *
hmac_sha256_hex(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    Py_buffer secret, data;
    int portable = 0;
    if (!PyArg_ParseTuple(arguments, "y*y*|p:hmac_sha256_hex", &secret, &data, &portable)) {
        return NULL;
    }
    char digits[SHA256_HEX];
    HmacKey key;
    Sha256 hash;
    hmac_key_with(&key, secret.buf, (size_t)secret.len, chosen(portable));
    hmac_begin(&key, &hash);
    sha256_update(&hash, data.buf, (size_t)data.len);
    hmac_end_hex(&key, &hash, digits);
    PyBuffer_Release(&secret);
    PyBuffer_Release(&data);
    return PyUnicode_FromStringAndSize(digits, SHA256_HEX);
}

static PyMethodDef functions[] = {
    {"sha256_hex", sha256_hex, METH_VARARGS,
     PyDoc_STR("sha256_hex(data, portable=False, /): 64 lower-case hexadecimal digits.")},
    {"hmac_sha256_hex", hmac_sha256_hex, METH_VARARGS,
     PyDoc_STR("hmac_sha256_hex(key, data, portable=False, /): 64 lower-case hexadecimal digits.")},
    {NULL, NULL, 0, NULL},
};

int
hashing_add(PyObject *module)
{
    sha256_choose();
    if (PyModule_AddStringConstant(
            module, "sha256_by", sha256_fastest == sha256_portable ? "portable" : "sha-ni") < 0) {
        return -1;
    }
    return PyModule_AddFunctions(module, functions);
}
