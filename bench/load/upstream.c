/* The Proxmox side: accepts TLS, answers the upgrade, does QEMU's RFB handshake (any response is right), then does
 * what a console's client asks for: a FramebufferUpdateRequest with the mark 0xBE7C as width starts or stops a stream
 * of frames, a KeyEvent is answered by one small frame. */
#include "load.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BLOCK = 512 * 1024, BLOCKS = 8, STREAMS = 8192 };

int upstream_count;
static SSL_CTX *tls;
static struct conn *streams[STREAMS];
static int stream_count;
static struct {
    size_t payload, size, frame;
    bool framed;
    unsigned char *bytes;
} blocks[BLOCKS];

static const unsigned char MARK[16] = "\x01THE-END\x01THE-END";

static int listen_on_loopback(bool framed)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) || listen(fd, 4096) ||
        getsockname(fd, (struct sockaddr *)&address, &size))
        fail("cannot listen on 127.0.0.1");
    struct conn *listener = conn_new(fd, LISTENER, NULL);
    listener->framed = framed;
    watch(quick_epoll, listener, EPOLLIN);
    return ntohs(address.sin_port);
}

void upstream_listen(const char *certificate, const char *key)
{
    tls = SSL_CTX_new(TLS_server_method());
    if (tls == NULL || SSL_CTX_use_certificate_chain_file(tls, certificate) != 1 ||
        SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1)
        fail("cannot use the certificate");
    /* One cipher for all contenders: OpenSSL's first choice, which a Proxmox node takes too. */
    SSL_CTX_set_min_proto_version(tls, TLS1_3_VERSION);
    SSL_CTX_set_ciphersuites(tls, "TLS_AES_256_GCM_SHA384");
    SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    int framed = listen_on_loopback(true), raw = listen_on_loopback(false);
    printf("{\"websocket\": %d, \"raw\": %d}\n", framed, raw);
}

void upstream_accept(struct conn *listener)
{
    /* A server's usual buffer may grow to megabytes, which a slow proxy would take half a minute to drain. */
    int fd, one = 1, buffer = 256 * 1024;
    while ((fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
        SSL *ssl = SSL_new(tls);
        SSL_set_fd(ssl, fd);
        SSL_set_accept_state(ssl);
        struct conn *c = conn_new(fd, UPSTREAM, ssl);
        c->framed = listener->framed;
        if (!c->framed)
            c->state = TLS_HANDSHAKE; /* RFB's server speaks first, as soon as it can */
        upstream_count++;
        watch(quick_epoll, c, EPOLLIN);
    }
}

static void answer_upgrade(struct conn *c)
{
    static const char name[] = "\r\nsec-websocket-key: ";
    char head[MESSAGE_LIMIT + 1], accept[64], answer[512];
    unsigned char digest[SHA_DIGEST_LENGTH];
    memcpy(head, c->inbox, c->inbox_size);
    head[c->inbox_size] = 0;
    char *end = strstr(head, "\r\n\r\n"), *key = strcasestr(head, name);
    if (end == NULL)
        return;
    if (key == NULL || key > end) {
        conn_drop(c);
        return;
    }
    key += sizeof name - 1;
    char joined[128];
    int size = snprintf(joined, sizeof joined, "%.*s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", (int)strcspn(key, "\r"), key);
    SHA1((unsigned char *)joined, (size_t)size, digest);
    EVP_EncodeBlock((unsigned char *)accept, digest, sizeof digest);
    bool protocol = strcasestr(head, "\r\nsec-websocket-protocol: binary") != NULL;
    size = snprintf(answer, sizeof answer,
                    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\n"
                    "Sec-WebSocket-Accept: %s\r\n%s\r\n",
                    accept, protocol ? "Sec-WebSocket-Protocol: binary\r\n" : "");
    c->inbox_size = 0; /* a client sends nothing before the answer */
    c->state = RFB_VERSION;
    put(c, answer, (size_t)size);
    put_payload(c, "RFB 003.008\n", 12);
}

/* Frames of ``payload`` bytes, as many as make a block; shared by all streams of that size. */
static void take_block(struct conn *c, size_t payload)
{
    int i = 0;
    while (blocks[i].bytes != NULL && (blocks[i].payload != payload || blocks[i].framed != c->framed))
        if (++i == BLOCKS)
            fail("too many sizes of frames");
    if (blocks[i].bytes == NULL) {
        unsigned char header[16];
        size_t head = c->framed ? frame_header(header, payload) : 0;
        size_t count = BLOCK / (head + payload) + 1;
        unsigned char *bytes = malloc(count * (head + payload));
        if (bytes == NULL)
            fail("out of memory");
        for (size_t frame = 0; frame < count; frame++) {
            unsigned char *at = bytes + frame * (head + payload);
            memcpy(at, header, head);
            for (size_t byte = 0; byte < payload; byte++)
                at[head + byte] = (unsigned char)(byte * 7 % 251 + 2); /* never a 1: that begins the mark */
        }
        blocks[i].payload = payload;
        blocks[i].frame = head + payload;
        blocks[i].size = count * (head + payload);
        blocks[i].framed = c->framed;
        blocks[i].bytes = bytes;
    }
    c->block = blocks[i].bytes;
    c->block_size = blocks[i].size;
    c->frame = (uint32_t)blocks[i].frame;
}

static void control_stream(struct conn *c, const unsigned char *request)
{
    if ((request[6] << 8 | request[7]) != 0xBE7C)
        return; /* somebody's keepalive */
    if (!request[9]) {
        c->stopping = true;
        return;
    }
    if (c->streaming)
        fail("a second stream on one console");
    take_block(c, (size_t)(request[2] << 8 | request[3]) * 16);
    c->rate = (request[4] << 8 | request[5]) * 1e5;
    c->at = c->sent = c->mark_sent = c->retry = 0;
    c->stopping = false;
    c->streaming = c->writable = true;
    c->started = now_ns();
    if (stream_count == STREAMS)
        fail("too many streams");
    streams[stream_count++] = c;
    watch(out_epoll, c, EPOLLOUT | EPOLLET);
}

/* Every whole message that has come. */
static size_t open_messages(struct conn *c)
{
    size_t at = 0;
    while (at < c->inbox_size && !c->gone) {
        const unsigned char *message = c->inbox + at;
        size_t have = c->inbox_size - at, size = 0;
        switch (message[0]) {
        case 0: size = 20; break;
        case 2: size = have < 4 ? 4 : 4 + 4 * (size_t)(message[2] << 8 | message[3]); break;
        case 3: size = 10; break;
        case 4: size = 8; break;
        case 5: size = 6; break;
        default: fail("an RFB message of type %d", message[0]);
        }
        if (size > have)
            break;
        if (message[0] == 3) {
            control_stream(c, message);
        } else if (message[0] == 4) {
            unsigned char echo[ECHO_SIZE] = {0};
            memcpy(echo + ECHO_SIZE - 4, message + 4, 4);
            put_payload(c, echo, sizeof echo);
        }
        at += size;
    }
    return at;
}

/* One step of the handshake: how many bytes it used; 0 while too few have come. */
static size_t step(struct conn *c)
{
    static const unsigned char init[] = "\x02\x80\x01\xe0\x20\x18\x00\x01\x00\xff\x00\xff\x00\xff\x10\x08\x00\x00\x00\x00"
                                        "\x00\x00\x00\x05"
                                        "bench";
    switch (c->state) {
    case RFB_VERSION:
        if (c->inbox_size < 12)
            return 0;
        c->state = RFB_SECURITY;
        put_payload(c, "\x01\x02", 2);
        return 12;
    case RFB_SECURITY:
        c->state = RFB_CHALLENGE;
        put_payload(c, "0123456789abcdef", 16);
        return 1;
    case RFB_CHALLENGE:
        if (c->inbox_size < 16)
            return 0;
        c->state = RFB_INIT;
        put_payload(c, "\0\0\0\0", 4);
        return 16;
    case RFB_INIT:
        c->state = OPEN;
        put_payload(c, init, sizeof init - 1);
        return 1;
    case OPEN:
        return open_messages(c);
    default:
        fail("the upstream is in state %d", c->state);
    }
}

void upstream_message(struct conn *c)
{
    if (c->state == HTTP_HEAD) {
        answer_upgrade(c);
        return;
    }
    size_t used;
    while (c->inbox_size > 0 && !c->gone && (used = step(c)) > 0) {
        c->inbox_size -= used;
        memmove(c->inbox, c->inbox + used, c->inbox_size);
    }
}

void upstream_forget(struct conn *c)
{
    upstream_count--;
    for (int i = 0; i < stream_count; i++)
        if (streams[i] == c) {
            streams[i] = streams[--stream_count];
            return;
        }
}

/* Bytes that a paced stream owes by now: whole frames only. */
static uint64_t owed(struct conn *c, uint64_t now)
{
    double due = (double)(now - c->started) * 1e-9 * c->rate / c->frame;
    uint64_t target = (uint64_t)due * c->frame;
    if (target > c->sent + (1 << 20)) { /* the proxy cannot carry it: do not burst later */
        c->started = now - (uint64_t)((double)c->sent / c->rate * 1e9);
        return 0;
    }
    return target > c->sent ? target - c->sent : 0;
}

static long write_some(struct conn *c, const unsigned char *data, size_t size)
{
    if (c->retry)
        size = c->retry; /* OpenSSL wants the same again */
    ERR_clear_error();
    int n = SSL_write(c->ssl, data, (int)size);
    c->retry = 0;
    if (n > 0)
        return n;
    int error = SSL_get_error(c->ssl, n);
    if (error == SSL_ERROR_WANT_WRITE || error == SSL_ERROR_WANT_READ) {
        c->retry = size;
        c->writable = false;
        return 0;
    }
    conn_drop(c);
    return -1;
}

/* One frame's rest and the mark, then silence. */
static void finish(struct conn *c)
{
    unsigned char mark[32];
    size_t size = c->framed ? frame_header(mark, sizeof MARK) : 0;
    memcpy(mark + size, MARK, sizeof MARK);
    size += sizeof MARK;
    while (c->mark_sent < size) {
        long n = write_some(c, mark + c->mark_sent, size - c->mark_sent);
        if (n <= 0)
            return;
        c->mark_sent += (uint64_t)n;
    }
    c->streaming = false;
    unwatch(out_epoll, c);
    upstream_count++; /* forget takes it off the list of streams, but it stays */
    upstream_forget(c);
}

/* At most PIECE bytes; whether it would go on at once. */
static bool turn(struct conn *c, uint64_t now)
{
    size_t budget = PIECE;
    while (budget > 0) {
        uint64_t want = c->rate > 0 ? owed(c, now) : c->block_size;
        if (c->stopping) {
            want = (c->frame - c->at % c->frame) % c->frame;
            if (want == 0 && c->retry == 0) {
                finish(c);
                return false;
            }
        }
        if (want == 0 && c->retry == 0)
            return false;
        size_t size = c->block_size - c->at;
        if (size > RECORD)
            size = RECORD;
        if (size > want)
            size = (size_t)want;
        long n = write_some(c, c->block + c->at, size);
        if (n <= 0)
            return false;
        c->at = (c->at + (size_t)n) % c->block_size;
        c->sent += (uint64_t)n;
        budget -= (size_t)n < budget ? (size_t)n : budget;
    }
    return true;
}

bool upstream_turns(void)
{
    bool more = false;
    for (int i = 0; i < stream_count; i++) {
        struct conn *c = streams[i];
        if (!c->writable)
            continue;
        if (turn(c, now_ns()))
            more = true;
        look_for_keys();
        if (i < stream_count && streams[i] != c)
            i--; /* it left the list, and the last took its place */
    }
    return more;
}

void upstream_writable(void)
{
    struct epoll_event events[64];
    int count;
    do {
        count = epoll_wait(out_epoll, events, 64, 0);
        for (int i = 0; i < count; i++)
            ((struct conn *)events[i].data.ptr)->writable = true;
    } while (count == 64);
}

uint64_t upstream_next_due(void)
{
    uint64_t first = UINT64_MAX;
    for (int i = 0; i < stream_count; i++) {
        struct conn *c = streams[i];
        if (!c->writable)
            continue;
        if (c->rate <= 0 || c->stopping)
            return 0;
        uint64_t due = c->started + (uint64_t)((double)(c->sent + c->frame) / c->rate * 1e9);
        if (due < first)
            first = due;
    }
    return first;
}
