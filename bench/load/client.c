/* The browsers: open consoles through a proxy (or straight to the upstream over TLS), type, and count what is drawn.
 *
 * Each takes the RFB handshake as it is offered: "None" by the gateway, which authenticates upstream itself, VNC
 * authentication by a proxy that passes everything through. From then on all carry the same bytes. */
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { GROUPS = 16, CONSOLES = 16384, SAMPLES = 4 << 20, COOKIE = 2048 };
enum phase { QUIET, OPENING, WARMING, MEASURING, DRAINING, CLOSING };

/* Each contender's consoles are a group and stay open from one measurement to the next. */
static struct group {
    struct conn *consoles[CONSOLES];
    int count;
} groups[GROUPS];
static struct group *group = groups; /* whom the command under way concerns */
static int client_count;
static enum phase phase;
static uint64_t phase_ends, window_began, window_ended;
static int lost, in_flight;
static SSL_CTX *tls;

static struct {
    int port, wanted, parallel, first, paths, errors, done;
    bool tls, framed;
    char path[256], cookie[COOKIE], error[256];
    uint64_t began;
} opening;

static struct {
    int streams, keys;
    size_t frame;
    double rate, gap;
    uint64_t seconds;
} run;

static uint32_t samples[SAMPLES];
static size_t sample_count;

static const char *argument(const char *arguments, const char *name)
{
    size_t size = strlen(name);
    for (const char *at = arguments; at != NULL; at = strchr(at, '\t')) {
        at += *at == '\t';
        if (!strncmp(at, name, size) && at[size] == '=')
            return at + size + 1;
    }
    return NULL;
}

static double number(const char *arguments, const char *name, double otherwise)
{
    const char *value = argument(arguments, name);
    return value != NULL ? atof(value) : otherwise;
}

static void text(const char *arguments, const char *name, char *to, size_t size)
{
    const char *value = argument(arguments, name);
    snprintf(to, size, "%.*s", value != NULL ? (int)strcspn(value, "\t\n") : 0, value != NULL ? value : "");
}

static void choose_group(const char *arguments)
{
    int chosen = (int)number(arguments, "group", 0);
    if (chosen < 0 || chosen >= GROUPS)
        fail("no group %d", chosen);
    group = &groups[chosen];
}

static int by_size(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return left < right ? -1 : left > right;
}

static double percentile(double share)
{
    if (sample_count == 0)
        return 0;
    return samples[(size_t)((double)(sample_count - 1) * share)] / 1000.0;
}

static void sample(uint64_t nanoseconds)
{
    if (sample_count < SAMPLES)
        samples[sample_count++] = nanoseconds < UINT32_MAX ? (uint32_t)nanoseconds : UINT32_MAX;
}

/* --- opening */

void client_start(void)
{
    tls = SSL_CTX_new(TLS_client_method());
}

static void ask_for_upgrade(struct conn *c)
{
    char path[300], request[COOKIE + 1024];
    snprintf(path, sizeof path, opening.path, opening.first + c->number % opening.paths);
    int size = snprintf(request, sizeof request,
                        "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
                        "Sec-WebSocket-Protocol: binary\r\nOrigin: http://127.0.0.1:%d\r\n%s%s%s\r\n",
                        path, opening.port, opening.port, *opening.cookie ? "Cookie: " : "", opening.cookie,
                        *opening.cookie ? "\r\n" : "");
    c->state = HTTP_HEAD;
    put(c, request, (size_t)size);
}

void client_ready(struct conn *c)
{
    ask_for_upgrade(c);
}

static void dial(void)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)opening.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    /* Blocking until connected, which on this machine takes microseconds. */
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address))
        fail("cannot connect to port %d: %s", opening.port, strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (group->count == CONSOLES)
        fail("too many consoles");
    struct conn *c = conn_new(fd, CLIENT, NULL);
    c->group = (int)(group - groups);
    c->number = group->count;
    group->consoles[group->count++] = c;
    client_count++;
    c->opening_since = now_ns();
    in_flight++;
    if (opening.tls) {
        c->ssl = SSL_new(tls);
        SSL_set_fd(c->ssl, fd);
        SSL_set_connect_state(c->ssl);
        c->state = TLS_HANDSHAKE;
    }
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    watch(quick_epoll, c, EPOLLIN);
    if (opening.tls)
        SSL_do_handshake(c->ssl);
    else
        ask_for_upgrade(c);
}

static void dial_more(void)
{
    while (phase == OPENING && in_flight < opening.parallel && opening.done + in_flight < opening.wanted)
        dial();
    if (phase != OPENING || opening.done < opening.wanted)
        return;
    phase = QUIET;
    qsort(samples, sample_count, sizeof *samples, by_size);
    printf("{\"opened\": %d, \"errors\": %d, \"error\": \"%s\", \"seconds\": %.6f, \"p50_us\": %.1f, \"p99_us\": %.1f}\n",
           opening.wanted - opening.errors, opening.errors, opening.error, (double)(now_ns() - opening.began) * 1e-9,
           percentile(0.5), percentile(0.99));
}

void client_open(char *arguments)
{
    choose_group(arguments);
    opening.port = (int)number(arguments, "port", 0);
    opening.wanted = (int)number(arguments, "n", 1);
    opening.parallel = (int)number(arguments, "parallel", 10);
    opening.first = (int)number(arguments, "first", 1);
    opening.paths = (int)number(arguments, "paths", 1);
    opening.tls = number(arguments, "tls", 0) != 0;
    opening.errors = opening.done = 0;
    opening.error[0] = 0;
    text(arguments, "path", opening.path, sizeof opening.path);
    text(arguments, "cookie", opening.cookie, sizeof opening.cookie);
    opening.began = now_ns();
    sample_count = 0;
    lost = 0;
    phase = OPENING;
    phase_ends = opening.began + (uint64_t)(number(arguments, "limit", 60) * 1e9);
    dial_more();
}

static void opened(struct conn *c)
{
    c->state = OPEN;
    in_flight--;
    opening.done++;
    sample(now_ns() - c->opening_since);
    dial_more();
}

void client_lost(struct conn *c)
{
    groups[c->group].consoles[c->number] = NULL;
    client_count--;
    if (phase == CLOSING)
        return;
    if (c->state == OPEN) {
        lost++;
        return;
    }
    if (!opening.errors++ && !*opening.error)
        snprintf(opening.error, sizeof opening.error, "closed in state %d", c->state);
    in_flight--;
    opening.done++;
    dial_more();
}

/* --- the handshake */

static void head_has_come(struct conn *c)
{
    unsigned char *end = memmem(c->inbox, c->inbox_size, "\r\n\r\n", 4);
    if (end == NULL)
        return;
    if (c->inbox_size < 12 || memcmp(c->inbox + 9, "101", 3)) {
        if (!opening.errors)
            snprintf(opening.error, sizeof opening.error, "%.*s", (int)strcspn((char *)c->inbox, "\r\""), c->inbox);
        conn_drop(c);
        return;
    }
    unsigned char rest[MESSAGE_LIMIT];
    size_t size = (size_t)(c->inbox + c->inbox_size - end - 4);
    memcpy(rest, end + 4, size);
    c->inbox_size = 0;
    c->state = RFB_VERSION;
    if (size > 0)
        received(c, rest, size);
}

static size_t step(struct conn *c)
{
    const unsigned char *in = c->inbox;
    size_t have = c->inbox_size, size;
    switch (c->state) {
    case RFB_VERSION:
        if (have < 12)
            return 0;
        c->state = RFB_SECURITY;
        put_payload(c, "RFB 003.008\n", 12);
        return 12;
    case RFB_SECURITY:
        if (have < 1 + (size_t)in[0])
            return 0;
        size = 1 + (size_t)in[0];
        if (memchr(in + 1, 1, in[0]) != NULL) {
            c->state = RFB_RESULT;
            put_payload(c, "\x01", 1);
        } else {
            c->state = RFB_CHALLENGE;
            put_payload(c, "\x02", 1);
        }
        return size;
    case RFB_CHALLENGE:
        if (have < 16)
            return 0;
        c->state = RFB_RESULT;
        put_payload(c, "any will do here", 16);
        return 16;
    case RFB_RESULT:
        if (have < 4)
            return 0;
        c->state = RFB_INIT;
        put_payload(c, "\x01", 1);
        return 4;
    case RFB_INIT:
        if (have < 24)
            return 0;
        size = 24 + ((size_t)in[20] << 24 | (size_t)in[21] << 16 | (size_t)in[22] << 8 | in[23]);
        if (have < size)
            return 0;
        opened(c);
        return size;
    default:
        fail("a client is in state %d with %zu bytes", c->state, have);
    }
}

void client_message(struct conn *c)
{
    if (c->state == HTTP_HEAD) {
        head_has_come(c);
        return;
    }
    size_t used;
    while (c->inbox_size > 0 && !c->gone && (used = step(c)) > 0) {
        c->inbox_size -= used;
        memmove(c->inbox, c->inbox + used, c->inbox_size);
    }
}

/* --- streams and keystrokes */

static void type(struct conn *c)
{
    unsigned char key[8] = {4, 1};
    c->typed++;
    for (int i = 0; i < 4; i++)
        key[4 + i] = (unsigned char)(c->typed >> (24 - 8 * i));
    c->payload = 0;
    c->waiting = true;
    c->typed_at = now_ns();
    put_payload(c, key, sizeof key);
}

static void answered(struct conn *c)
{
    uint32_t echo = (uint32_t)c->last[4] << 24 | c->last[5] << 16 | c->last[6] << 8 | c->last[7];
    if (echo != c->typed) {
        broken_count++;
        conn_drop(c);
        return;
    }
    uint64_t now = now_ns();
    c->waiting = false;
    if (phase == MEASURING)
        sample(now - c->typed_at);
    if (phase != WARMING && phase != MEASURING)
        return;
    if (run.gap > 0)
        c->type_next = now + (uint64_t)(run.gap * (0.5 + random() % 1024 / 1024.0));
    else
        type(c);
}

void client_payload(struct conn *c, const unsigned char *data, size_t size)
{
    c->payload += size;
    if (size >= sizeof c->last) {
        memcpy(c->last, data + size - sizeof c->last, sizeof c->last);
    } else {
        memmove(c->last, c->last + size, sizeof c->last - size);
        memcpy(c->last + sizeof c->last - size, data, size);
    }
    if (c->waiting && c->payload >= ECHO_SIZE)
        answered(c);
    else if (c->counting && phase == DRAINING && !memcmp(c->last, "\x01THE-END", 8)) {
        c->counting = false;
        unwatch(bulk_epoll, c);
        watch(quick_epoll, c, EPOLLIN);
    }
}

static void stream(struct conn *c, bool start)
{
    unsigned char request[10] = {3};
    size_t frame = run.frame / 16, rate = (size_t)(run.rate / 1e5 + 0.5);
    request[2] = (unsigned char)(frame >> 8);
    request[3] = (unsigned char)frame;
    request[4] = (unsigned char)(rate >> 8);
    request[5] = (unsigned char)rate;
    request[6] = 0xBE;
    request[7] = 0x7C;
    request[9] = start;
    put_payload(c, request, sizeof request);
}

void client_run(char *arguments)
{
    choose_group(arguments);
    run.streams = (int)number(arguments, "streams", 0);
    run.keys = (int)number(arguments, "keys", 0);
    run.frame = (size_t)number(arguments, "frame", 16384);
    run.rate = number(arguments, "rate", 0);
    run.gap = number(arguments, "gap", 0) * 1000;
    run.seconds = (uint64_t)(number(arguments, "seconds", 1) * 1e9);
    uint64_t now = now_ns();
    phase = WARMING;
    phase_ends = now + (uint64_t)(number(arguments, "warm", 0.2) * 1e9);
    sample_count = 0;
    lost = broken_count = 0;
    if (run.keys + run.streams > group->count)
        fail("%d consoles are too few", group->count);
    for (int i = 0; i < run.keys + run.streams; i++) {
        struct conn *c = group->consoles[i];
        if (c == NULL)
            continue;
        c->payload = 0;
        c->waiting = false;
        c->type_next = 0;
        c->typing = i < run.keys;
        if (c->typing) {
            type(c);
        } else {
            c->counting = true;
            unwatch(quick_epoll, c);
            watch(bulk_epoll, c, EPOLLIN);
            stream(c, true);
        }
    }
}

static void report(void)
{
    double seconds = (double)(window_ended - window_began) * 1e-9, total = 0, slowest = 1e18;
    for (int i = run.keys; i < run.keys + run.streams; i++) {
        double rate = group->consoles[i] != NULL ? (double)group->consoles[i]->counted / seconds : 0;
        total += rate;
        if (rate < slowest)
            slowest = rate;
    }
    qsort(samples, sample_count, sizeof *samples, by_size);
    printf("{\"seconds\": %.6f, \"bytes_s\": %.0f, \"slowest\": %.0f, \"keys\": %zu, \"p50_us\": %.1f, \"p99_us\": %.1f, "
           "\"max_us\": %.1f, \"lost\": %d, \"broken\": %d}\n",
           seconds, total, run.streams ? slowest : 0, sample_count, percentile(0.5), percentile(0.99), percentile(1), lost,
           broken_count);
}

static void begin_window(uint64_t now)
{
    phase = MEASURING;
    window_began = now;
    phase_ends = now + run.seconds;
    sample_count = 0;
    for (int i = run.keys; i < run.keys + run.streams; i++)
        if (group->consoles[i] != NULL)
            group->consoles[i]->payload = 0;
    printf("{\"window\": \"begins\"}\n");
}

static void end_window(uint64_t now)
{
    window_ended = now;
    printf("{\"window\": \"ends\"}\n");
    phase = DRAINING;
    phase_ends = now + 10000000000u;
    for (int i = run.keys; i < run.keys + run.streams; i++)
        if (group->consoles[i] != NULL) {
            group->consoles[i]->counted = group->consoles[i]->payload;
            stream(group->consoles[i], false);
        }
}

static bool drained(void)
{
    for (int i = 0; i < run.keys + run.streams; i++)
        if (group->consoles[i] != NULL && (group->consoles[i]->counting || group->consoles[i]->waiting))
            return false;
    return true;
}

void client_clock(uint64_t now)
{
    if ((phase == WARMING || phase == MEASURING) && run.gap > 0)
        for (int i = 0; i < run.keys; i++) {
            struct conn *c = group->consoles[i];
            if (c != NULL && !c->waiting && now >= c->type_next)
                type(c);
        }
    if (phase == WARMING && now >= phase_ends) {
        begin_window(now);
    } else if (phase == MEASURING && now >= phase_ends) {
        end_window(now);
    } else if (phase == DRAINING && (drained() || now >= phase_ends)) {
        if (!drained())
            lost += 1000000; /* told apart in the report */
        phase = QUIET;
        report();
    } else if (phase == OPENING && now >= phase_ends) {
        fail("opened %d of %d consoles in time; %s", opening.done, opening.wanted, opening.error);
    } else if (phase == CLOSING && (upstream_count <= client_count || now >= phase_ends)) {
        printf("{\"left\": %d}\n", upstream_count - client_count);
        phase = QUIET;
    }
}

void client_close(char *arguments)
{
    choose_group(arguments);
    phase = CLOSING;
    phase_ends = now_ns() + 10000000000u;
    for (int i = 0; i < group->count; i++)
        if (group->consoles[i] != NULL)
            conn_drop(group->consoles[i]);
    group->count = 0;
}

uint64_t client_next_due(void)
{
    uint64_t first = phase == QUIET ? UINT64_MAX : phase_ends;
    if ((phase == DRAINING || phase == CLOSING) && first > now_ns() + 1000000)
        first = now_ns() + 1000000; /* looks now and then whether it is over */
    if ((phase == WARMING || phase == MEASURING) && run.gap > 0)
        for (int i = 0; i < run.keys; i++)
            if (group->consoles[i] != NULL && !group->consoles[i]->waiting && group->consoles[i]->type_next < first)
                first = group->consoles[i]->type_next;
    return first;
}
