/* Bytes and frames: sockets with or without TLS, websocket framing in both directions (RFC 6455, section 5). */
#include "load.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

int broken_count;
static struct conn *dropped;

uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "load: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    exit(1);
}

struct conn *conn_new(int fd, enum role role, SSL *ssl)
{
    struct conn *c = calloc(1, sizeof *c);
    if (c == NULL)
        fail("out of memory");
    c->fd = fd;
    c->role = role;
    c->ssl = ssl;
    c->framed = true;
    c->state = HTTP_HEAD;
    return c;
}

/* Close it now, free it once nobody in this turn of the loop can still hold it. */
void conn_drop(struct conn *c)
{
    if (c->gone)
        return;
    c->gone = true;
    if (c->ssl != NULL)
        SSL_free(c->ssl);
    close(c->fd);
    c->next = dropped;
    dropped = c;
    if (c->role == UPSTREAM)
        upstream_forget(c);
    else
        client_lost(c);
}

void conn_sweep(void)
{
    while (dropped != NULL) {
        struct conn *c = dropped;
        dropped = c->next;
        free(c);
    }
}

long pull(struct conn *c, unsigned char *buffer, size_t size)
{
    if (c->ssl != NULL) {
        ERR_clear_error(); /* what another connection left there would be taken for this one's */
        int n = SSL_read(c->ssl, buffer, (int)size);
        if (n > 0)
            return n;
        int error = SSL_get_error(c->ssl, n);
        return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? 0 : -1;
    }
    ssize_t n = recv(c->fd, buffer, size, 0);
    if (n > 0)
        return n;
    return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

/* For small things, which always fit: a handshake, a keystroke, its answer. */
void put(struct conn *c, const void *data, size_t size)
{
    if (c->gone)
        return;
    if (c->ssl != NULL) {
        int n = SSL_write(c->ssl, data, (int)size);
        if (n == (int)size)
            return;
    } else {
        ssize_t n = send(c->fd, data, size, MSG_NOSIGNAL);
        if (n == (ssize_t)size)
            return;
    }
    conn_drop(c);
}

size_t frame_header(unsigned char *to, size_t size)
{
    to[0] = 0x80 | BINARY;
    if (size < 126) {
        to[1] = (unsigned char)size;
        return 2;
    }
    if (size < 65536) {
        to[1] = 126;
        to[2] = (unsigned char)(size >> 8);
        to[3] = (unsigned char)size;
        return 4;
    }
    to[1] = 127;
    for (int i = 0; i < 8; i++)
        to[2 + i] = (unsigned char)((uint64_t)size >> (56 - 8 * i));
    return 10;
}

static void put_frame(struct conn *c, int opcode, const unsigned char *data, size_t size)
{
    static const unsigned char key[4] = {0x12, 0x34, 0x56, 0x78};
    unsigned char frame[16 + 1024];
    if (size > 1024)
        fail("a small frame of %zu bytes", size);
    size_t at = frame_header(frame, size);
    frame[0] = (unsigned char)(0x80 | opcode);
    if (c->role == CLIENT) {
        frame[1] |= 0x80;
        memcpy(frame + at, key, 4);
        at += 4;
        for (size_t i = 0; i < size; i++)
            frame[at + i] = data[i] ^ key[i & 3];
    } else {
        memcpy(frame + at, data, size);
    }
    put(c, frame, at + size);
}

void put_payload(struct conn *c, const void *data, size_t size)
{
    if (c->framed)
        put_frame(c, BINARY, data, size);
    else
        put(c, data, size);
}

static void keep(struct conn *c, const unsigned char *data, size_t size)
{
    if (size > MESSAGE_LIMIT - c->inbox_size) {
        fprintf(stderr, "load: a message larger than %d bytes in state %d\n", MESSAGE_LIMIT, c->state);
        conn_drop(c);
        return;
    }
    memcpy(c->inbox + c->inbox_size, data, size);
    c->inbox_size += size;
    if (c->role == UPSTREAM)
        upstream_message(c);
    else
        client_message(c);
}

static void payload(struct conn *c, const unsigned char *data, size_t size)
{
    if (c->opcode >= CLOSE) {
        if (c->opcode == CLOSE)
            conn_drop(c);
        else if (c->opcode == PING)
            put_frame(c, PONG, data, size);
        return;
    }
    if (c->role == CLIENT && c->state == OPEN)
        client_payload(c, data, size);
    else
        keep(c, data, size);
}

/* Complete the header of the next frame from ``data``; return how much of it was used. */
static size_t begin_frame(struct conn *c, const unsigned char *data, size_t size)
{
    size_t used = 0;
    int want = 2;
    for (;;) {
        while (c->head_size < want && used < size)
            c->head[c->head_size++] = data[used++];
        if (c->head_size < want)
            return used;
        int length = c->head[1] & 0x7f;
        int whole = 2 + (length == 126 ? 2 : length == 127 ? 8 : 0) + (c->head[1] & 0x80 ? 4 : 0);
        if (want < whole) {
            want = whole;
            continue;
        }
        c->opcode = c->head[0] & 0x0f;
        int extra = length == 126 ? 2 : length == 127 ? 8 : 0;
        c->left = extra ? 0 : (uint64_t)length;
        for (int i = 0; i < extra; i++)
            c->left = c->left << 8 | c->head[2 + i];
        bool masked = c->head[1] & 0x80;
        if (masked != (c->role == UPSTREAM) || (c->opcode > BINARY && c->opcode < CLOSE) || c->opcode > PONG) {
            broken_count++; /* a contender lost bytes, or made some up */
            conn_drop(c);
            return used;
        }
        if (masked)
            memcpy(c->key, c->head + 2 + extra, 4);
        c->turned = 0;
        c->head_size = 0;
        c->in_frame = true;
        return used;
    }
}

void received(struct conn *c, const unsigned char *data, size_t size)
{
    if (c->state == HTTP_HEAD && c->framed) {
        keep(c, data, size); /* what follows the head comes back here */
        return;
    }
    if (!c->framed) {
        keep(c, data, size);
        return;
    }
    unsigned char plain[MESSAGE_LIMIT];
    while ((size > 0 || (c->in_frame && c->left == 0)) && !c->gone) {
        if (!c->in_frame) {
            size_t used = begin_frame(c, data, size);
            data += used;
            size -= used;
            if (!c->in_frame)
                return;
        }
        size_t taken = c->left < size ? (size_t)c->left : size;
        const unsigned char *piece = data;
        if (c->role == UPSTREAM) {
            if (taken > sizeof plain)
                taken = sizeof plain;
            for (size_t i = 0; i < taken; i++)
                plain[i] = data[i] ^ c->key[(c->turned + i) & 3];
            c->turned += (unsigned)taken;
            piece = plain;
        }
        c->left -= taken;
        c->in_frame = c->left > 0;
        payload(c, piece, taken);
        data += taken;
        size -= taken;
    }
}
