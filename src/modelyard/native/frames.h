/* The header of a frame, as transport/frames.py tells of it. Only for little-endian machines, as its integers are. */

#ifndef MODELYARD_FRAMES_H
#define MODELYARD_FRAMES_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#if PY_BIG_ENDIAN
#error "Modelyard's C reads integers as they lie; without it everything is Python's."
#endif

enum { FRAME_VERSION = 1, FRAME_HEADER_SIZE = 24, FRAME_AFTER_LENGTH = 20 };
enum { FRAME_REQUEST = 1, FRAME_ANSWER, FRAME_CANCEL, FRAME_GOAWAY, FRAME_HELLO, FRAME_PART, FRAME_CREDIT };
enum { FRAME_SOLO = 1, FRAME_OWN_STATUS = 2, FRAME_STREAM = 4, FRAME_TRACED = 8 };

typedef struct {
    uint32_t length; /* Bytes after this field. */
    uint8_t version;
    uint8_t kind;
    uint16_t flags;
    uint64_t id;
    uint32_t number;
    uint32_t meta_length;
} FrameHeader;

/* FRAME_HEADER_SIZE bytes have to be there. */
static inline FrameHeader
frame_read_header(const unsigned char *at)
{
    FrameHeader header;
    memcpy(&header.length, at, 4);
    header.version = at[4];
    header.kind = at[5];
    memcpy(&header.flags, at + 6, 2);
    memcpy(&header.id, at + 8, 8);
    memcpy(&header.number, at + 16, 4);
    memcpy(&header.meta_length, at + 20, 4);
    return header;
}

/* Where the meta begins. */
static inline unsigned char *
frame_write_header(unsigned char *at, const FrameHeader *header)
{
    memcpy(at, &header->length, 4);
    at[4] = header->version;
    at[5] = header->kind;
    memcpy(at + 6, &header->flags, 2);
    memcpy(at + 8, &header->id, 8);
    memcpy(at + 16, &header->number, 4);
    memcpy(at + 20, &header->meta_length, 4);
    return at + FRAME_HEADER_SIZE;
}

/* Within the limit, and long enough for its meta; the version is looked at before. */
static inline int
frame_has_valid_length(const FrameHeader *header, uint64_t limit)
{
    return header->length <= limit &&
           header->length >= (uint64_t)FRAME_AFTER_LENGTH + header->meta_length;
}

/* One decoded frame, immutable; made by frame_new. */
typedef struct {
    PyObject_HEAD
    uint64_t id;
    uint32_t number;
    uint16_t flags;
    uint8_t kind;
    PyObject *meta; /* bytes, still encoded */
    PyObject *body; /* bytes */
} Frame;

extern PyTypeObject FrameType;

#define Frame_Check(object) Py_IS_TYPE(object, &FrameType)

/* Takes references of its own; NULL with an exception where there is no memory. */
PyObject *frame_new(const FrameHeader *header, PyObject *meta, PyObject *body);

/* Adds Frame and FrameDecoder to the module; -1 with an exception. */
int frames_add(PyObject *module);

#endif
