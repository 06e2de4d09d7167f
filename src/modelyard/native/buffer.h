/* Bytes that grow: what waits to be written together, and the beginning of a frame whose end has not come. */

#ifndef MODELYARD_BUFFER_H
#define MODELYARD_BUFFER_H

#include <Python.h>
#include <string.h>

typedef struct {
    char *bytes;
    size_t size, room;
} Buffer;

#define BUFFER_KEPT (256 * 1024) /* What is larger than this is given back when it is empty. */

static inline void
buffer_free(Buffer *self)
{
    PyMem_Free(self->bytes);
    *self = (Buffer){0};
}

static inline void
buffer_clear(Buffer *self)
{
    self->size = 0;
    if (self->room > BUFFER_KEPT) {
        buffer_free(self);
    }
}

/* Room for `more` bytes behind those that are there, or NULL with MemoryError; they count at once. */
static inline char *
buffer_extend(Buffer *self, size_t more)
{
    if (more > (size_t)PY_SSIZE_T_MAX - self->size) {
        PyErr_NoMemory();
        return NULL;
    }
    size_t size = self->size + more;
    if (size > self->room) {
        size_t room = self->room < 1024 ? 1024 : self->room;
        while (room < size) {
            room = room > (size_t)PY_SSIZE_T_MAX / 2 ? size : room * 2;
        }
        char *bytes = PyMem_Realloc(self->bytes, room);
        if (bytes == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        self->bytes = bytes;
        self->room = room;
    }
    char *place = self->bytes + self->size;
    self->size = size;
    return place;
}

static inline int
buffer_add(Buffer *self, const void *bytes, size_t size)
{
    char *place = buffer_extend(self, size);
    if (place == NULL) {
        return -1;
    }
    if (size) {
        memcpy(place, bytes, size);
    }
    return 0;
}

#endif
