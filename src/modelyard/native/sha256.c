/* SHA-256 (FIPS 180-4): with the CPU's instructions for it where it has them, else as the standard writes it down. */

#include "sha256.h"

#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#define HAS_SHA_NI_CODE 1
#include <cpuid.h>
#include <immintrin.h>
#endif

static const uint32_t constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t
turned(uint32_t word, int bits)
{
    return word >> bits | word << (32 - bits);
}

/* What eight rounds and a turn of the names would do is done by naming the words anew in each round. */
#define ROUND(a, b, c, d, e, f, g, h, t)                                                           \
    do {                                                                                           \
        uint32_t one = h + (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) + (g ^ (e & (f ^ g)))    \
            + constants[t] + words[(t) & 15];                                                      \
        d += one;                                                                                  \
        h = one + (turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) + ((a & b) | (c & (a | b)));      \
    } while (0)

void
sha256_portable(uint32_t state[8], const uint8_t *data, size_t count)
{
    uint32_t words[16];
    for (; count > 0; count--, data += SHA256_BLOCK) {
        uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
        uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
        for (int t = 0; t < 16; t++) {
            const uint8_t *at = data + 4 * t;
            words[t] = (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
        }
        for (int from = 0; from < 64; from += 16) {
            if (from > 0) {
                for (int t = 0; t < 16; t++) {
                    uint32_t two = words[(t + 14) & 15], fifteen = words[(t + 1) & 15];
                    words[t] += (turned(two, 17) ^ turned(two, 19) ^ two >> 10) + words[(t + 9) & 15]
                        + (turned(fifteen, 7) ^ turned(fifteen, 18) ^ fifteen >> 3);
                }
            }
            for (int t = from; t < from + 16; t += 8) {
                ROUND(a, b, c, d, e, f, g, h, t);
                ROUND(h, a, b, c, d, e, f, g, t + 1);
                ROUND(g, h, a, b, c, d, e, f, t + 2);
                ROUND(f, g, h, a, b, c, d, e, t + 3);
                ROUND(e, f, g, h, a, b, c, d, t + 4);
                ROUND(d, e, f, g, h, a, b, c, t + 5);
                ROUND(c, d, e, f, g, h, a, b, t + 6);
                ROUND(b, c, d, e, f, g, h, a, t + 7);
            }
        }
        state[0] += a, state[1] += b, state[2] += c, state[3] += d;
        state[4] += e, state[5] += f, state[6] += g, state[7] += h;
    }
}

Sha256Blocks *sha256_fastest = sha256_portable;

#ifdef HAS_SHA_NI_CODE

#define SHA_NI __attribute__((target("sha,sse4.1,ssse3")))

/* Rounds 4n to 4n + 3, whose words are in ``w``. */
#define FOUR_ROUNDS(n, w)                                                                          \
    do {                                                                                           \
        __m128i sum = _mm_add_epi32(w, _mm_loadu_si128((const __m128i *)(constants + 4 * (n))));   \
        cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);                                             \
        abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, 0x0e));                    \
    } while (0)

/* The next four words in place of the oldest, ``w``; ``x``, ``y`` and ``z`` are those between. */
#define NEXT_WORDS(w, x, y, z)                                                                     \
    w = _mm_sha256msg2_epu32(                                                                      \
        _mm_add_epi32(_mm_sha256msg1_epu32(w, x), _mm_alignr_epi8(z, y, 4)), z)

#define SIXTEEN_ROUNDS(n)                                                                          \
    do {                                                                                           \
        NEXT_WORDS(w0, w1, w2, w3);                                                                \
        FOUR_ROUNDS(n, w0);                                                                        \
        NEXT_WORDS(w1, w2, w3, w0);                                                                \
        FOUR_ROUNDS(n + 1, w1);                                                                    \
        NEXT_WORDS(w2, w3, w0, w1);                                                                \
        FOUR_ROUNDS(n + 2, w2);                                                                    \
        NEXT_WORDS(w3, w0, w1, w2);                                                                \
        FOUR_ROUNDS(n + 3, w3);                                                                    \
    } while (0)

SHA_NI static __m128i
big_endian_words(const uint8_t *data)
{
    const __m128i order = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
    return _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)data), order);
}

SHA_NI static void
sha_ni(uint32_t state[8], const uint8_t *data, size_t count)
{
    /* The instructions want the words a, b, e, f in one register and c, d, g, h in the other. */
    __m128i badc = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state), 0xb1);
    __m128i hgfe = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(state + 4)), 0x1b);
    __m128i abef = _mm_alignr_epi8(badc, hgfe, 8);
    __m128i cdgh = _mm_blend_epi16(hgfe, badc, 0xf0);
    for (; count > 0; count--, data += SHA256_BLOCK) {
        const __m128i abef_before = abef, cdgh_before = cdgh;
        __m128i w0 = big_endian_words(data);
        FOUR_ROUNDS(0, w0);
        __m128i w1 = big_endian_words(data + 16);
        FOUR_ROUNDS(1, w1);
        __m128i w2 = big_endian_words(data + 32);
        FOUR_ROUNDS(2, w2);
        __m128i w3 = big_endian_words(data + 48);
        FOUR_ROUNDS(3, w3);
        SIXTEEN_ROUNDS(4);
        SIXTEEN_ROUNDS(8);
        SIXTEEN_ROUNDS(12);
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }
    __m128i feba = _mm_shuffle_epi32(abef, 0x1b);
    __m128i dchg = _mm_shuffle_epi32(cdgh, 0xb1);
    _mm_storeu_si128((__m128i *)state, _mm_blend_epi16(feba, dchg, 0xf0));
    _mm_storeu_si128((__m128i *)(state + 4), _mm_alignr_epi8(dchg, feba, 8));
}

void
sha256_choose(void)
{
    unsigned int a, b, c, d;
    if (__get_cpuid(1, &a, &b, &c, &d) && (c & bit_SSSE3) && (c & bit_SSE4_1)
        && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA)) {
        sha256_fastest = sha_ni;
    }
}

#else

void
sha256_choose(void)
{
}

#endif

void
sha256_begin(Sha256 *hash)
{
    sha256_begin_with(hash, sha256_fastest);
}

void
sha256_begin_with(Sha256 *hash, Sha256Blocks *blocks)
{
    static const uint32_t first[8] = {
        0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
    };
    memcpy(hash->state, first, sizeof first);
    hash->length = 0;
    hash->blocks = blocks;
}

void
sha256_update(Sha256 *hash, const void *data, size_t size)
{
    if (size == 0) {
        return; /* Of no bytes there may be no address either. */
    }
    const uint8_t *at = data;
    size_t held = hash->length % SHA256_BLOCK;
    hash->length += size;
    if (held > 0) {
        size_t room = SHA256_BLOCK - held;
        if (size < room) {
            memcpy(hash->rest + held, at, size);
            return;
        }
        memcpy(hash->rest + held, at, room);
        hash->blocks(hash->state, hash->rest, 1);
        at += room;
        size -= room;
    }
    if (size >= SHA256_BLOCK) {
        hash->blocks(hash->state, at, size / SHA256_BLOCK);
        at += size - size % SHA256_BLOCK;
        size %= SHA256_BLOCK;
    }
    memcpy(hash->rest, at, size);
}

void
sha256_end(Sha256 *hash, uint8_t out[SHA256_BYTES])
{
    const size_t lengths_place = SHA256_BLOCK - 8;
    size_t held = hash->length % SHA256_BLOCK;
    uint8_t *rest = hash->rest;
    rest[held++] = 0x80;
    if (held > lengths_place) {
        memset(rest + held, 0, SHA256_BLOCK - held);
        hash->blocks(hash->state, rest, 1);
        held = 0;
    }
    memset(rest + held, 0, lengths_place - held);
    uint64_t bits = hash->length * 8;
    for (int i = 0; i < 8; i++) {
        rest[lengths_place + i] = (uint8_t)(bits >> (56 - 8 * i));
    }
    hash->blocks(hash->state, rest, 1);
    for (int i = 0; i < SHA256_BYTES; i++) {
        out[i] = (uint8_t)(hash->state[i / 4] >> (24 - 8 * (i % 4)));
    }
}

static void
to_hex(const uint8_t bytes[SHA256_BYTES], char out[SHA256_HEX])
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < SHA256_BYTES; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
}

void
sha256_end_hex(Sha256 *hash, char out[SHA256_HEX])
{
    uint8_t bytes[SHA256_BYTES];
    sha256_end(hash, bytes);
    to_hex(bytes, out);
}

void
hmac_key(HmacKey *key, const void *secret, size_t size)
{
    hmac_key_with(key, secret, size, sha256_fastest);
}

void
hmac_key_with(HmacKey *key, const void *secret, size_t size, Sha256Blocks *blocks)
{
    uint8_t pad[SHA256_BLOCK] = {0};
    if (size > SHA256_BLOCK) {
        sha256_begin_with(&key->inner, blocks);
        sha256_update(&key->inner, secret, size);
        sha256_end(&key->inner, pad);
    } else if (size > 0) {
        memcpy(pad, secret, size);
    }
    for (int i = 0; i < SHA256_BLOCK; i++) {
        pad[i] ^= 0x36;
    }
    sha256_begin_with(&key->inner, blocks);
    sha256_update(&key->inner, pad, sizeof pad);
    for (int i = 0; i < SHA256_BLOCK; i++) {
        pad[i] ^= 0x36 ^ 0x5c;
    }
    sha256_begin_with(&key->outer, blocks);
    sha256_update(&key->outer, pad, sizeof pad);
}

void
hmac_begin(const HmacKey *key, Sha256 *hash)
{
    *hash = key->inner;
}

void
hmac_end(const HmacKey *key, Sha256 *hash, uint8_t out[SHA256_BYTES])
{
    sha256_end(hash, out);
    *hash = key->outer;
    sha256_update(hash, out, SHA256_BYTES);
    sha256_end(hash, out);
}

void
hmac_end_hex(const HmacKey *key, Sha256 *hash, char out[SHA256_HEX])
{
    uint8_t bytes[SHA256_BYTES];
    hmac_end(key, hash, bytes);
    to_hex(bytes, out);
}
