/* The backend behind every proxy: one thread, one epoll, edge-triggered; each kind of service on a port of its own.
 *
 *   raw    'E…' echoes all that comes; 'U' and 15 digits takes so many bytes of the pattern and answers 'K';
 *          'D' and 15 digits sends so many
 *   smtp   takes any message, and answers with length and hash of its body
 *   http   1 KiB for each request
 *   auth   what nginx's mail proxy asks where to go: always to smtp
 *
 * It prints its ports, as one line of JSON, and ends when its standard input does.
 */

#define _GNU_SOURCE
#include "shared.h"

#include <arpa/inet.h>
#include <sys/epoll.h>

enum kind { RAW, SMTP, HTTP, AUTH, KINDS };
static const char *const names[KINDS] = {"raw", "smtp", "http", "auth"};

enum state { COMMANDS, ECHOING, TAKING, SENDING, MESSAGE, ENDING };

struct connection {
    int fd;
    bool listens;
    enum kind kind;
    enum state state;
    uint64_t offset, length; /* of what is taken or sent */
    size_t held, unsent_from, unsent;
    char *in;                /* commands, a message, or what is to be echoed; `held` bytes */
    char out[512];
};

static int ports[KINDS];
static char http_reply[HTTP_BODY + 128], auth_reply[128];
static size_t http_reply_size, auth_reply_size;
static char scratch[CHUNK];

static void close_connection(struct connection *c)
{
    close(c->fd);
    free(c->in);
    free(c);
}

/* Send what is due. False: it is not all gone, or the connection is broken (then `broken` is set). */
static bool flush(struct connection *c, const char *data, bool *broken)
{
    while (c->unsent) {
        ssize_t sent = send(c->fd, data + c->unsent_from, c->unsent, MSG_NOSIGNAL);
        if (sent < 0) {
            *broken = !would_block(sent);
            return false;
        }
        c->unsent_from += (size_t)sent, c->unsent -= (size_t)sent;
    }
    c->unsent_from = 0;
    return true;
}

/* Answer with a text. A client that sends a command before it has read the last answer is in error here: none does. */
static bool say(struct connection *c, const char *text, size_t size)
{
    ssize_t sent = send(c->fd, text, size, MSG_NOSIGNAL);
    return sent == (ssize_t)size;
}

#define SAY(c, text) say(c, text, sizeof(text) - 1)

/* Each of these takes what it can from c->in, and says whether the connection goes on. */

static bool raw_command(struct connection *c)
{
    if (c->in[0] == 'E') {
        c->state = ECHOING;
        return true;
    }
    if (c->held < COMMAND_SIZE)
        return true;
    char number[COMMAND_SIZE] = {0};
    memcpy(number, c->in + 1, COMMAND_SIZE - 1);
    c->offset = 0, c->length = strtoull(number, NULL, 10);
    if (c->in[0] == 'D' && c->held == COMMAND_SIZE) {
        c->state = SENDING, c->held = 0;
        return true;
    }
    if (c->in[0] != 'U')
        return false;
    c->state = TAKING, c->held -= COMMAND_SIZE;
    memmove(c->in, c->in + COMMAND_SIZE, c->held);
    return true;
}

static bool end_of_message(struct connection *c)
{
    if (c->held < 5 || memcmp(c->in + c->held - 5, "\r\n.\r\n", 5) != 0)
        return c->held < MESSAGE_LIMIT;
    char reply[64];
    int size = snprintf(reply, sizeof reply, "250 2.0.0 Ok %016llx\r\n", (unsigned long long)body_hash(c->in, c->held));
    c->state = COMMANDS, c->held = 0;
    return say(c, reply, (size_t)size);
}

static bool smtp_command(struct connection *c, const char *line)
{
    if (!strncasecmp(line, "EHLO", 4))
        return SAY(c, "250-backend.example\r\n250-PIPELINING\r\n250-SIZE 65536\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n");
    if (!strncasecmp(line, "DATA", 4)) {
        c->state = MESSAGE;
        return SAY(c, "354 End data with <CR><LF>.<CR><LF>\r\n");
    }
    if (!strncasecmp(line, "QUIT", 4)) {
        SAY(c, "221 2.0.0 Bye\r\n");
        return false;
    }
    return SAY(c, "250 2.0.0 Ok\r\n");
}

static bool smtp_input(struct connection *c)
{
    while (c->state == COMMANDS && c->held) {
        char *end = memchr(c->in, '\n', c->held);
        if (!end)
            return c->held < 1024; /* twice what RFC 5321, section 4.5.3.1.4 has */
        size_t size = (size_t)(end - c->in) + 1;
        *end = 0;
        if (!smtp_command(c, c->in))
            return false;
        c->held -= size;
        memmove(c->in, c->in + size, c->held);
    }
    return c->state != MESSAGE || end_of_message(c);
}

static bool http_input(struct connection *c)
{
    if (c->held < 4 || memcmp(c->in + c->held - 4, "\r\n\r\n", 4) != 0)
        return c->held < 8192;
    c->held = 0;
    if (c->kind == HTTP)
        return say(c, http_reply, http_reply_size);
    say(c, auth_reply, auth_reply_size);
    return false;
}

static bool commands_input(struct connection *c)
{
    switch (c->kind) {
    case RAW: return raw_command(c);
    case SMTP: return smtp_input(c);
    default: return http_input(c);
    }
}

/* Each of these goes on until the socket has no more for it. False: the connection is over. */

static bool go_on_sending(struct connection *c)
{
    while (c->offset < c->length) {
        uint64_t size = c->length - c->offset < CHUNK ? c->length - c->offset : CHUNK;
        ssize_t sent = send(c->fd, pattern_at(c->offset), size, MSG_NOSIGNAL);
        if (sent < 0)
            return would_block(sent);
        c->offset += (uint64_t)sent;
    }
    c->state = COMMANDS;
    return true;
}

static bool taken(struct connection *c, const char *data, size_t size)
{
    if (size > c->length - c->offset || memcmp(data, pattern_at(c->offset), size) != 0)
        return false;
    c->offset += size;
    if (c->offset < c->length)
        return true;
    c->state = COMMANDS;
    return SAY(c, "K");
}

static bool take(struct connection *c)
{
    size_t early = c->held; /* came with the command */
    c->held = 0;
    if (early && !taken(c, c->in, early))
        return false;
    while (c->state == TAKING) {
        ssize_t size = recv(c->fd, scratch, CHUNK, 0);
        if (size <= 0)
            return would_block(size);
        if (!taken(c, scratch, (size_t)size))
            return false;
    }
    return true;
}

static bool echo(struct connection *c)
{
    bool broken = false;
    for (;;) {
        c->unsent += c->held, c->held = 0;
        if (!flush(c, c->in, &broken))
            return !broken;
        ssize_t size = recv(c->fd, c->in, MESSAGE_LIMIT, 0);
        if (size <= 0)
            return would_block(size);
        c->held = (size_t)size;
    }
}

static bool listen_to_commands(struct connection *c)
{
    ssize_t size = recv(c->fd, c->in + c->held, MESSAGE_LIMIT - c->held, 0);
    if (size <= 0)
        return would_block(size);
    c->held += (size_t)size;
    return commands_input(c);
}

/* True as long as there may be more to do at once. */
static bool advance(struct connection *c)
{
    for (;;) {
        enum state before = c->state;
        errno = 0;
        bool goes_on = false;
        switch (before) {
        case SENDING: goes_on = go_on_sending(c); break;
        case TAKING: goes_on = take(c); break;
        case ECHOING: return echo(c);
        default: goes_on = listen_to_commands(c); break;
        }
        if (!goes_on)
            return false;
        if (errno == EAGAIN)
            return true;
    }
}

static void watch(int epoll, struct connection *c, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event) < 0)
        fail("epoll_ctl: %s", strerror(errno));
}

static void accept_all(int epoll, struct connection *listener)
{
    int fd;
    while ((fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct connection *c = allocate(1, sizeof *c);
        c->fd = fd, c->kind = listener->kind, c->in = malloc(MESSAGE_LIMIT); /* unlike calloc, touches nothing */
        if (!c->in)
            fail("no memory for a connection");
        send_at_once(fd);
        if (c->kind == SMTP)
            SAY(c, "220 backend.example ESMTP\r\n");
        watch(epoll, c, EPOLLIN | EPOLLOUT | EPOLLET);
    }
}

static struct connection *listen_for(enum kind kind)
{
    struct connection *c = allocate(1, sizeof *c);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    c->listens = true, c->kind = kind;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (bind(c->fd, (struct sockaddr *)&address, size) < 0 || listen(c->fd, 4096) < 0 ||
        getsockname(c->fd, (struct sockaddr *)&address, &size) < 0)
        fail("listen: %s", strerror(errno));
    ports[kind] = ntohs(address.sin_port);
    return c;
}

static void write_replies(void)
{
    int size = snprintf(http_reply, sizeof http_reply,
                        "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n", HTTP_BODY);
    memcpy(http_reply + size, pattern, HTTP_BODY);
    http_reply_size = (size_t)size + HTTP_BODY;
    size = snprintf(auth_reply, sizeof auth_reply,
                    "HTTP/1.0 200 OK\r\nAuth-Status: OK\r\nAuth-Server: 127.0.0.1\r\nAuth-Port: %d\r\n\r\n", ports[SMTP]);
    auth_reply_size = (size_t)size;
}

int main(void)
{
    int epoll = epoll_create1(0);
    make_pattern();
    for (enum kind kind = RAW; kind < KINDS; kind++)
        watch(epoll, listen_for(kind), EPOLLIN);
    write_replies();
    for (enum kind kind = RAW; kind < KINDS; kind++)
        printf("%s\"%s\": %d", kind ? ", " : "{", names[kind], ports[kind]);
    puts("}");
    fflush(stdout);
    struct connection standard_input = {.fd = 0};
    watch(epoll, &standard_input, EPOLLIN);
    for (;;) {
        struct epoll_event events[256];
        int count = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < count; i++) {
            struct connection *c = events[i].data.ptr;
            if (c == &standard_input)
                return 0;
            if (c->listens)
                accept_all(epoll, c);
            else if (!advance(c))
                close_connection(c);
        }
    }
}
