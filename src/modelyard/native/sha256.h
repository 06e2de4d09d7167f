/* SHA-256 and HMAC of many short texts, as modelyard/wire/hashing.py has them: pads are hashed once, and copied. */

#ifndef MODELYARD_SHA256_H
#define MODELYARD_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define SHA256_BYTES 32
#define SHA256_HEX 64
#define SHA256_BLOCK 64

/* Takes ``count`` whole blocks into a state. */
typedef void Sha256Blocks(uint32_t state[8], const uint8_t *data, size_t count);

typedef struct {
    uint32_t state[8];
    uint64_t length;             /* All bytes so far; those behind the last whole block are in ``rest``. */
    uint8_t rest[SHA256_BLOCK];
    Sha256Blocks *blocks;
} Sha256;

/* The same for every CPU, and the fastest that this one has; the second is known after ``sha256_choose``. */
Sha256Blocks sha256_portable;
extern Sha256Blocks *sha256_fastest;
void sha256_choose(void);

/* A copy of a Sha256 goes on by itself. After its end it is spent. */
void sha256_begin(Sha256 *hash);
void sha256_begin_with(Sha256 *hash, Sha256Blocks *blocks);
void sha256_update(Sha256 *hash, const void *data, size_t size);
void sha256_end(Sha256 *hash, uint8_t out[SHA256_BYTES]);
void sha256_end_hex(Sha256 *hash, char out[SHA256_HEX]); /* Lower-case digits, and no zero behind them. */

typedef struct {
    Sha256 inner, outer;
} HmacKey;

void hmac_key(HmacKey *key, const void *secret, size_t size);
void hmac_key_with(HmacKey *key, const void *secret, size_t size, Sha256Blocks *blocks);

/* A text is taken by ``sha256_update`` of what begins here. */
void hmac_begin(const HmacKey *key, Sha256 *hash);
void hmac_end(const HmacKey *key, Sha256 *hash, uint8_t out[SHA256_BYTES]);
void hmac_end_hex(const HmacKey *key, Sha256 *hash, char out[SHA256_HEX]);

#endif
