/* What load.c and backend.c agree on: content that can be checked wherever in a stream it stands, and small helpers. */

#ifndef SHARED_H
#define SHARED_H

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHUNK 65536         /* at most in one read or write */
#define PERIOD 65521        /* a prime: a chunk that is lost, doubled or in the wrong place shows */
#define COMMAND_SIZE 16     /* of the raw backend: 'U' or 'D' and 15 digits, the number of bytes that follow */
#define ECHO_SIZE 64        /* what a round trip carries; its first byte, 'E', turns the raw backend into an echo */
#define HTTP_BODY 1024
#define MESSAGE_LIMIT 65536 /* of an SMTP message, end of data included */

static char pattern[PERIOD + CHUNK];

static inline void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static inline void *allocate(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    if (!memory)
        fail("no memory for %zu times %zu bytes", count, size);
    return memory;
}

static inline void make_pattern(void)
{
    uint32_t state = 2463534242u; /* xorshift, Marsaglia 2003 */
    for (size_t i = 0; i < sizeof pattern; i++) {
        state ^= state << 13, state ^= state >> 17, state ^= state << 5;
        pattern[i] = i < PERIOD ? (char)state : pattern[i - PERIOD];
    }
}

/* Content of a stream from `offset` on; at least CHUNK bytes may be read from there. */
static inline const char *pattern_at(uint64_t offset)
{
    return pattern + offset % PERIOD;
}

/* FNV-1a. */
static inline uint64_t hash_of(const char *data, size_t size)
{
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ (unsigned char)data[i]) * 1099511628211u;
    return hash;
}

/* Of a mail message, what follows the header: a server on the way may add fields to that. */
static inline uint64_t body_hash(const char *message, size_t size)
{
    const char *body = memmem(message, size, "\r\n\r\n", 4);
    if (!body)
        return 0;
    body += 4;
    return hash_of(body, size - (size_t)(body - message));
}

static inline uint64_t nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline void send_at_once(int fd)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static inline bool would_block(ssize_t result)
{
    return result < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

#endif
