/* load CERTIFICATE KEY: serves the upstream on two ports of 127.0.0.1 (printed), then obeys a command a line.
 *
 *   open   group= port= n= parallel= path=(with %d) first= paths= cookie= tls=   opens more consoles
 *   run    group= seconds= warm= streams= frame= rate= keys= gap=(microseconds)  keys on the first, streams on the next
 *   close  group=                                                                drops the group's consoles
 *
 * Arguments are separated by tabs; every answer is a line of JSON. Ends with its standard input. */
#include "load.h"

#include <errno.h>
#include <openssl/err.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

int quick_epoll, bulk_epoll, out_epoll;

void watch(int epoll, struct conn *c, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event))
        fail("epoll: %s", strerror(errno));
}

void unwatch(int epoll, struct conn *c)
{
    epoll_ctl(epoll, EPOLL_CTL_DEL, c->fd, NULL);
}

static void readable(struct conn *c)
{
    static unsigned char buffer[PIECE];
    if (c->role == LISTENER) {
        upstream_accept(c);
        return;
    }
    if (c->state == TLS_HANDSHAKE) {
        ERR_clear_error();
        int done = SSL_do_handshake(c->ssl);
        if (done == 1 && c->role == CLIENT) {
            client_ready(c);
        } else if (done == 1) {
            c->state = RFB_VERSION;
            put_payload(c, "RFB 003.008\n", 12);
        } else if (SSL_get_error(c->ssl, done) != SSL_ERROR_WANT_READ) {
            conn_drop(c);
        }
        return;
    }
    size_t total = 0;
    do {
        /* A TLS client's read ends with a record; TCP's takes what is there. */
        long size = pull(c, buffer, sizeof buffer);
        if (size < 0)
            conn_drop(c);
        else if (size > 0)
            received(c, buffer, (size_t)size);
        if (size <= 0)
            return;
        total += (size_t)size;
    } while (c->ssl != NULL && !c->gone && total < PIECE);
}

void look_for_keys(void)
{
    struct epoll_event events[64];
    int count = epoll_wait(quick_epoll, events, 64, 0);
    for (int i = 0; i < count; i++) {
        struct conn *c = events[i].data.ptr;
        if (!c->gone)
            readable(c);
    }
}

static void read_bulk(void)
{
    struct epoll_event events[64];
    int count = epoll_wait(bulk_epoll, events, 64, 0);
    for (int i = 0; i < count; i++) {
        struct conn *c = events[i].data.ptr;
        if (!c->gone)
            readable(c);
        look_for_keys();
    }
}

static void obey(char *line)
{
    char *arguments = line + strcspn(line, "\t");
    if (!strncmp(line, "open", 4))
        client_open(arguments);
    else if (!strncmp(line, "run", 3))
        client_run(arguments);
    else if (!strncmp(line, "close", 5))
        client_close(arguments);
    else
        fail("what is %s", line);
}

static void read_commands(void)
{
    static char buffer[16384];
    static size_t have;
    ssize_t size = read(0, buffer + have, sizeof buffer - 1 - have);
    if (size <= 0)
        exit(0);
    have += (size_t)size;
    buffer[have] = 0;
    char *end;
    while ((end = strchr(buffer, '\n')) != NULL) {
        *end = 0;
        obey(buffer);
        have -= (size_t)(end + 1 - buffer);
        memmove(buffer, end + 1, have + 1);
    }
}

int main(int count, char **arguments)
{
    if (count != 3)
        fail("usage: load CERTIFICATE KEY");
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
    quick_epoll = epoll_create1(EPOLL_CLOEXEC);
    bulk_epoll = epoll_create1(EPOLL_CLOEXEC);
    out_epoll = epoll_create1(EPOLL_CLOEXEC);
    client_start();
    upstream_listen(arguments[1], arguments[2]);
    struct pollfd polled[4] = {{0, POLLIN, 0}, {quick_epoll, POLLIN, 0}, {bulk_epoll, POLLIN, 0}, {out_epoll, POLLIN, 0}};
    for (;;) {
        uint64_t now = now_ns(), due = upstream_next_due(), client_due = client_next_due();
        if (client_due < due)
            due = client_due;
        uint64_t pause = due > now ? due - now : 0;
        struct timespec timeout = {(time_t)(pause / 1000000000u), (long)(pause % 1000000000u)};
        ppoll(polled, 4, due == UINT64_MAX ? NULL : &timeout, NULL);
        if (polled[0].revents)
            read_commands();
        look_for_keys();
        read_bulk();
        upstream_writable();
        upstream_turns();
        client_clock(now_ns());
        conn_sweep();
    }
}
