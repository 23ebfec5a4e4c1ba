/* The benchmark's two ends in one process: the Proxmox side (TLS websockets, RFB) and the browsers.
 *
 * One thread on one core runs both, so that neither waits for the scheduler's idea of a turn, and after every piece of
 * bulk (64 KiB at most) it looks for keystrokes and their answers: what it measures is the proxy in between.
 */
#ifndef LOAD_H
#define LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/ssl.h>

enum { ECHO_SIZE = 32, PIECE = 64 * 1024, RECORD = 16 * 1024, MESSAGE_LIMIT = 4096 };
enum { BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };
enum role { LISTENER, UPSTREAM, CLIENT };

/* Where a connection stands; each end uses those that concern it. */
enum state {
    TLS_HANDSHAKE,  /* a client that speaks TLS itself (the run without a proxy) */
    HTTP_HEAD,
    RFB_VERSION,
    RFB_SECURITY,
    RFB_CHALLENGE,
    RFB_RESULT,
    RFB_INIT,
    RFB_NAME,
    OPEN,
};

struct conn {
    int fd;
    SSL *ssl; /* NULL: plain TCP */
    enum role role;
    enum state state;
    bool framed; /* websocket frames, not RFB's bare bytes (what websockify dials) */
    bool gone;
    int group, number; /* a client's place in the lists of consoles */

    /* The frame that is being read. */
    unsigned char head[14];
    int head_size;
    bool in_frame;
    int opcode;
    uint64_t left;
    unsigned char key[4];
    unsigned turned; /* how far the masking key has turned */

    /* What has come of an HTTP head, a handshake or an RFB message. */
    unsigned char inbox[MESSAGE_LIMIT];
    size_t inbox_size;

    /* Upstream: the stream that it sends. */
    bool streaming, stopping, writable;
    uint32_t frame; /* bytes of a whole frame, header included */
    double rate;    /* payload bytes a second; 0: without limit */
    const unsigned char *block;
    size_t block_size, at, retry;
    uint64_t started, sent, mark_sent;

    /* Client: what it counts. */
    bool counting, typing, waiting;
    uint64_t payload, counted; /* so far, and at the end of the window */
    unsigned char last[8]; /* the newest payload bytes, to find the mark that ends a stream */
    uint32_t typed;
    uint64_t typed_at, type_next, opening_since;
    struct conn *next; /* in the list of those to free */
};

/* wire.c: bytes and frames */
extern int broken_count; /* consoles whose frames went wrong on the way */
uint64_t now_ns(void);
void fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
long pull(struct conn *c, unsigned char *buffer, size_t size); /* 0: nothing now, -1: the end */
void put(struct conn *c, const void *data, size_t size);
void put_payload(struct conn *c, const void *data, size_t size);
void received(struct conn *c, const unsigned char *data, size_t size);
size_t frame_header(unsigned char *to, size_t size);
struct conn *conn_new(int fd, enum role role, SSL *ssl);
void conn_drop(struct conn *c);
void conn_sweep(void);

/* upstream.c: the Proxmox side */
void upstream_listen(const char *certificate, const char *key);
void upstream_accept(struct conn *listener);
void upstream_message(struct conn *c);
bool upstream_turns(void); /* one turn for each stream; whether there is more to do at once */
void upstream_writable(void);
uint64_t upstream_next_due(void);
void upstream_forget(struct conn *c);
extern int upstream_count;

/* client.c: the browsers */
void client_start(void);
void client_open(char *arguments);
void client_run(char *arguments);
void client_close(char *arguments);
void client_message(struct conn *c);
void client_payload(struct conn *c, const unsigned char *data, size_t size);
void client_lost(struct conn *c);
void client_ready(struct conn *c); /* TLS is up */
void client_clock(uint64_t now);
uint64_t client_next_due(void);

/* main.c: the loop */
extern int quick_epoll, bulk_epoll, out_epoll;
void watch(int epoll, struct conn *c, uint32_t events);
void unwatch(int epoll, struct conn *c);
void look_for_keys(void);

#endif
