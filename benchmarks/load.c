/* The client of the benchmarks: one thread, one epoll, edge-triggered, many TLS connections.
 *
 * What a mode does is a script: steps that each connection carries out in turn. Those before `loop` are carried out once;
 * the others again and again, and once through them is a unit. A step that would block is taken up again at the next event.
 *
 *   load MODE --port N [--connections N] [--seconds S] [--count N] [--tls 1.2|1.3] [--cipher NAME] [--size BYTES]
 *        [--wait S]
 *
 * When every connection has its first steps behind it, "ready" is printed, and each line of standard input begins a
 * measurement: no unit begins after `--seconds`, or once there are `--count`. Every unit that began is finished. The result
 * is a line of JSON; connections stay open until standard input ends. What comes is compared byte by byte with what must
 * come. A unit that fails is an error, and its connection starts again from the beginning.
 */

#define _GNU_SOURCE
#include "shared.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>

#define ERRORS_LIMIT 100      /* then it is over: no figure comes of it */
#define STALL_LIMIT_MS 15000  /* without an event */
#define OPENING_LIMIT 64      /* connections that get ready at a time: no backlog overflows */
#define LATENCIES_LIMIT (1u << 24)
#define TEXT_LIMIT 8192       /* a reply, or an HTTP response with its body */
#define STEPS_LIMIT 32

enum verb { CONNECT, TLS, SEND, SEND_PATTERN, RECEIVE, RECEIVE_PATTERN, REPLY, RESPONSE, CLOSE };

struct step {
    enum verb verb;
    const char *data; /* what is sent; what must be received; what a reply begins with */
    uint64_t size;
};

static struct script {
    struct step steps[STEPS_LIMIT];
    int count, loop;
} script;

struct connection {
    int fd, step;
    bool working, secure;
    SSL *ssl;
    SSL_SESSION *session;
    uint64_t offset; /* done of the step */
    uint64_t begun;  /* when the unit was */
    char text[TEXT_LIMIT];
};

enum outcome { DONE, BLOCKED, BROKEN };

static struct {
    const char *mode, *tls, *cipher;
    int port, connections;
    uint64_t count, size;
    double seconds, wait;
} options = {.tls = "1.3", .cipher = "", .connections = 1, .seconds = 1, .count = UINT64_MAX, .size = 10240};

static struct {
    bool measuring;
    uint64_t begin, end, deadline, begun, units, errors, resumed;
    char first_error[256], version[16], cipher[64], group[32];
} run;

static SSL_CTX *context;
static struct connection *connections;
static int epoll, opened, opening, ready, active;
static float *latencies; /* microseconds */
static bool resume;
static char echo_request[ECHO_SIZE + 1], command[COMMAND_SIZE + 1], *message, message_reply[64], scratch[CHUNK];

static const char http_keep[] = "GET /a/path HTTP/1.1\r\nHost: bench.example\r\nUser-Agent: load\r\nAccept: */*\r\n\r\n";
static const char http_close[] =
    "GET /a/path HTTP/1.1\r\nHost: bench.example\r\nUser-Agent: load\r\nAccept: */*\r\nConnection: close\r\n\r\n";

static void note_error(const struct connection *c, const char *format, ...)
{
    char text[160];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    unsigned long code = ERR_peek_error();
    if (!run.errors++)
        snprintf(run.first_error, sizeof run.first_error, "step %d: %s%s%s", c->step, text, code ? ": " : "",
                 code ? ERR_reason_error_string(code) : "");
}

/* --- input and output of one connection: bytes, or how it ended --- */

static enum outcome failure(struct connection *c, ssize_t result, const char *doing)
{
    if (c->secure) {
        int error = SSL_get_error(c->ssl, (int)result);
        if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
            return BLOCKED;
        note_error(c, "%s: TLS error %d, %s", doing, error, error == SSL_ERROR_ZERO_RETURN ? "closed" : strerror(errno));
        return BROKEN;
    }
    if (would_block(result))
        return BLOCKED;
    note_error(c, "%s: %s", doing, result ? strerror(errno) : "closed");
    return BROKEN;
}

static ssize_t put(struct connection *c, const char *data, size_t size)
{
    ERR_clear_error();
    return c->secure ? SSL_write(c->ssl, data, (int)size) : send(c->fd, data, size, MSG_NOSIGNAL);
}

static ssize_t get(struct connection *c, char *data, size_t size)
{
    ERR_clear_error();
    return c->secure ? SSL_read(c->ssl, data, (int)size) : recv(c->fd, data, size, 0);
}

static size_t at_most_a_chunk(uint64_t size)
{
    return size < CHUNK ? (size_t)size : CHUNK;
}

/* --- steps --- */

static enum outcome start_connecting(struct connection *c)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)options.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0)
        fail("socket: %s", strerror(errno));
    send_at_once(c->fd);
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS) {
        note_error(c, "connect: %s", strerror(errno));
        return BROKEN;
    }
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event) < 0)
        fail("epoll_ctl: %s", strerror(errno));
    c->offset = 1;
    return BLOCKED;
}

static enum outcome do_connect(struct connection *c)
{
    if (!c->offset)
        return start_connecting(c);
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (!error)
        return DONE;
    note_error(c, "connect: %s", strerror(error));
    return BROKEN;
}

static enum outcome handshaken(struct connection *c)
{
    if (resume && run.measuring) {
        if (!SSL_session_reused(c->ssl)) {
            note_error(c, "not resumed");
            return BROKEN;
        }
        run.resumed++;
    }
    if (!*run.version) {
        int group = (int)SSL_get_negotiated_group(c->ssl);
        const char *name = OBJ_nid2sn(group);
        snprintf(run.version, sizeof run.version, "%s", SSL_get_version(c->ssl));
        snprintf(run.cipher, sizeof run.cipher, "%s", SSL_get_cipher_name(c->ssl));
        snprintf(run.group, sizeof run.group, "%s", name ? name : "");
    }
    return DONE;
}

static enum outcome do_tls(struct connection *c)
{
    if (!c->ssl) {
        c->ssl = SSL_new(context);
        SSL_set_app_data(c->ssl, c);
        SSL_set_fd(c->ssl, c->fd);
        SSL_set_tlsext_host_name(c->ssl, "bench.example");
        if (resume && c->session)
            SSL_set_session(c->ssl, c->session);
    }
    c->secure = true;
    ERR_clear_error();
    int result = SSL_connect(c->ssl);
    return result == 1 ? handshaken(c) : failure(c, result, "handshake");
}

static enum outcome do_send(struct connection *c, const struct step *step)
{
    while (c->offset < step->size) {
        bool from_pattern = step->verb == SEND_PATTERN;
        size_t size = at_most_a_chunk(step->size - c->offset);
        ssize_t sent = put(c, from_pattern ? pattern_at(c->offset) : step->data + c->offset, size);
        if (sent <= 0)
            return failure(c, sent, "send");
        c->offset += (uint64_t)sent;
    }
    return DONE;
}

static enum outcome do_receive(struct connection *c, const struct step *step)
{
    while (c->offset < step->size) {
        ssize_t size = get(c, scratch, at_most_a_chunk(step->size - c->offset));
        if (size <= 0)
            return failure(c, size, "receive");
        const char *expected = step->verb == RECEIVE_PATTERN ? pattern_at(c->offset) : step->data + c->offset;
        if (memcmp(scratch, expected, (size_t)size) != 0) {
            note_error(c, "other content than was sent");
            return BROKEN;
        }
        c->offset += (uint64_t)size;
    }
    return DONE;
}

/* Where the last line of an SMTP reply begins, or NULL as long as it isn't all there. */
static const char *last_line(const char *text, size_t size)
{
    const char *line = text, *end = text + size, *stop;
    while ((stop = memchr(line, '\n', (size_t)(end - line)))) {
        if (stop - line >= 4 && line[3] != '-')
            return line;
        line = stop + 1;
    }
    return NULL;
}

static enum outcome do_reply(struct connection *c, const struct step *step)
{
    const char *line;
    while (!(line = last_line(c->text, c->offset))) {
        ssize_t size = get(c, c->text + c->offset, TEXT_LIMIT - c->offset);
        if (size <= 0)
            return failure(c, size, "reply");
        c->offset += (uint64_t)size;
    }
    if (!memcmp(line, step->data, strlen(step->data)))
        return DONE;
    note_error(c, "reply %.60s instead of %s", line, step->data);
    return BROKEN;
}

/* The number of bytes that a response has, once its header is there. 0: not yet. */
static size_t response_size(const char *text, size_t size)
{
    const char *end = memmem(text, size, "\r\n\r\n", 4);
    return end ? (size_t)(end - text) + 4 + HTTP_BODY : 0;
}

static enum outcome do_response(struct connection *c)
{
    size_t whole;
    while (!(whole = response_size(c->text, c->offset)) || c->offset < whole) {
        ssize_t size = get(c, c->text + c->offset, TEXT_LIMIT - c->offset);
        if (size <= 0)
            return failure(c, size, "response");
        c->offset += (uint64_t)size;
    }
    bool same = c->offset == whole && !memcmp(c->text, "HTTP/1.1 200", 12) &&
                !memcmp(c->text + whole - HTTP_BODY, pattern, HTTP_BODY);
    if (same)
        return DONE;
    note_error(c, "response %.60s", c->text);
    return BROKEN;
}

static void drop(struct connection *c)
{
    if (c->ssl)
        SSL_free(c->ssl);
    if (c->fd >= 0)
        close(c->fd);
    c->ssl = NULL, c->fd = -1, c->secure = false;
}

static enum outcome do_close(struct connection *c)
{
    if (c->ssl)
        SSL_shutdown(c->ssl);
    drop(c);
    return DONE;
}

static enum outcome carry_out(struct connection *c)
{
    const struct step *step = &script.steps[c->step];
    switch (step->verb) {
    case CONNECT: return do_connect(c);
    case TLS: return do_tls(c);
    case SEND:
    case SEND_PATTERN: return do_send(c, step);
    case RECEIVE:
    case RECEIVE_PATTERN: return do_receive(c, step);
    case REPLY: return do_reply(c, step);
    case RESPONSE: return do_response(c);
    case CLOSE: return do_close(c);
    }
    return BROKEN;
}

/* --- scripts --- */

static void then(enum verb verb, const char *data, uint64_t size)
{
    if (script.count == STEPS_LIMIT)
        fail("a script of more than %d steps", STEPS_LIMIT);
    script.steps[script.count++] = (struct step){verb, data, size};
}

static void say(const char *text)
{
    then(SEND, text, strlen(text));
}

static void ask(const char *text, const char *answer)
{
    say(text);
    then(REPLY, answer, 0);
}

static void open_connection(void)
{
    then(CONNECT, NULL, 0);
    then(TLS, NULL, 0);
}

static void exchange(void)
{
    then(SEND, echo_request, ECHO_SIZE);
    then(RECEIVE, echo_request, ECHO_SIZE);
}

static void repeat_from_here(void)
{
    script.loop = script.count;
}

/* A unit is a connection: opened, used once so that the backend's is there too, closed. */
static void script_handshake(void)
{
    open_connection();
    exchange();
    then(CLOSE, NULL, 0);
}

static void script_resume(void)
{
    resume = true;
    script_handshake();
}

static void script_roundtrip(void)
{
    open_connection();
    exchange();
    repeat_from_here();
    exchange();
}

static void script_idle(void)
{
    options.count = 0;
    script_roundtrip();
}

static void script_down(void)
{
    snprintf(command, sizeof command, "D%015llu", (unsigned long long)options.size);
    open_connection();
    repeat_from_here();
    then(SEND, command, COMMAND_SIZE);
    then(RECEIVE_PATTERN, NULL, options.size);
}

static void script_up(void)
{
    snprintf(command, sizeof command, "U%015llu", (unsigned long long)options.size);
    open_connection();
    repeat_from_here();
    then(SEND, command, COMMAND_SIZE);
    then(SEND_PATTERN, NULL, options.size);
    then(RECEIVE, "K", 1);
}

static void make_message(void)
{
    static const char header[] = "From: <a@bench.example>\r\nTo: <b@bench.example>\r\nSubject: a message\r\n"
                                 "Message-ID: <1@bench.example>\r\nDate: Mon, 23 Nov 2026 12:00:00 +0000\r\n\r\n";
    static const char line[] = "A line of text as mail has it, of seventy-six octets and its end of line.\r\n";
    size_t limit = options.size + sizeof header + sizeof line + 8;
    if (limit > MESSAGE_LIMIT)
        fail("a message of more than %d bytes", MESSAGE_LIMIT);
    message = allocate(1, limit);
    strcpy(message, header);
    size_t size = strlen(message);
    for (; size < options.size; size += sizeof line - 1)
        strcpy(message + size, line);
    strcpy(message + size, ".\r\n");
    snprintf(message_reply, sizeof message_reply, "250 2.0.0 Ok %016llx",
             (unsigned long long)body_hash(message, size + 3));
}

static void script_transaction(void)
{
    ask("EHLO client.example\r\n", "250");
    ask("MAIL FROM:<a@bench.example>\r\n", "250");
    ask("RCPT TO:<b@bench.example>\r\n", "250");
    ask("DATA\r\n", "354");
    make_message();
    ask(message, message_reply);
    ask("QUIT\r\n", "221");
    then(CLOSE, NULL, 0);
}

static void script_smtp(void)
{
    then(CONNECT, NULL, 0);
    then(REPLY, "220", 0);
    ask("EHLO client.example\r\n", "250");
    ask("STARTTLS\r\n", "220");
    then(TLS, NULL, 0);
    script_transaction();
}

static void script_smtps(void)
{
    open_connection();
    then(REPLY, "220", 0);
    script_transaction();
}

static void script_https(void)
{
    open_connection();
    repeat_from_here();
    say(http_keep);
    then(RESPONSE, NULL, 0);
}

static void script_https_new(void)
{
    open_connection();
    say(http_close);
    then(RESPONSE, NULL, 0);
    then(CLOSE, NULL, 0);
}

static const struct {
    const char *name;
    void (*write)(void);
} modes[] = {
    {"handshake", script_handshake}, {"resume", script_resume}, {"roundtrip", script_roundtrip}, {"idle", script_idle},
    {"down", script_down}, {"up", script_up}, {"smtp", script_smtp}, {"smtps", script_smtps},
    {"https", script_https}, {"https-new", script_https_new},
};

/* --- running them --- */

static void advance(struct connection *c);

static bool another(void)
{
    return run.begun < options.count && run.errors < ERRORS_LIMIT && nanoseconds() < run.deadline;
}

/* Begin a unit, or leave the connection as it is. */
static void begin_unit(struct connection *c, bool allowed)
{
    if (!allowed) {
        c->working = false;
        active--;
        return;
    }
    run.begun++;
    c->begun = nanoseconds();
}

static void end_unit(struct connection *c)
{
    run.end = nanoseconds();
    if (run.units < LATENCIES_LIMIT)
        latencies[run.units] = (float)(run.end - c->begun) / 1000;
    run.units++;
    begin_unit(c, another());
}

static void open_next(void)
{
    while (opening < OPENING_LIMIT && opened < options.connections) {
        opening++;
        struct connection *c = &connections[opened++];
        c->working = true;
        advance(c);
    }
}

static void get_ready(struct connection *c)
{
    c->working = false;
    ready++, opening--;
}

/* A connection that failed starts from nothing. Outside of the measurement it is given up, and so is the run. */
static void start_again(struct connection *c)
{
    drop(c);
    c->step = 0, c->offset = 0;
    if (!run.measuring)
        run.errors = ERRORS_LIMIT;
    c->working = run.measuring;
    if (run.measuring)
        begin_unit(c, another());
}

static void next_step(struct connection *c)
{
    c->offset = 0;
    if (++c->step == script.count)
        c->step = script.loop;
    if (c->step != script.loop)
        return;
    if (!run.measuring)
        get_ready(c);
    else if (c->begun)
        end_unit(c);
}

static void advance(struct connection *c)
{
    while (c->working) {
        enum outcome outcome = carry_out(c);
        if (outcome == BLOCKED)
            return;
        if (outcome == DONE)
            next_step(c);
        else
            start_again(c);
    }
}

static void handle_events(void)
{
    struct epoll_event events[256];
    int count = epoll_wait(epoll, events, 256, STALL_LIMIT_MS);
    if (!count) {
        note_error(&connections[0], "nothing for %d ms", STALL_LIMIT_MS);
        run.errors = ERRORS_LIMIT;
    }
    for (int i = 0; i < count; i++)
        advance(events[i].data.ptr);
}

/* Carry out what comes before the loop. A script that is all loop is carried out once for its sessions, if those count. */
static void prepare(void)
{
    if (!script.loop && !resume)
        return;
    open_next();
    while (ready < options.connections && run.errors < ERRORS_LIMIT) {
        handle_events();
        open_next();
    }
}

static void measure(void)
{
    run.begun = run.units = run.resumed = 0;
    run.measuring = true;
    run.begin = run.end = nanoseconds();
    run.deadline = run.begin + (uint64_t)(options.seconds * 1e9);
    for (int i = 0; i < options.connections && run.errors < ERRORS_LIMIT; i++) {
        struct connection *c = &connections[i];
        active++;
        c->working = true;
        begin_unit(c, another());
        advance(c);
    }
    while (active && run.errors < ERRORS_LIMIT)
        handle_events();
}

/* Until a server is there: --wait. */
static void wait_for_server(void)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)options.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    uint64_t deadline = nanoseconds() + (uint64_t)(options.wait * 1e9);
    while (nanoseconds() < deadline) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        int result = connect(fd, (struct sockaddr *)&address, sizeof address);
        close(fd);
        if (!result)
            return;
        usleep(1000);
    }
}

/* --- the result --- */

static int compare(const void *one, const void *other)
{
    float a = *(const float *)one, b = *(const float *)other;
    return (a > b) - (a < b);
}

static double percentile(double part)
{
    uint64_t count = run.units < LATENCIES_LIMIT ? run.units : LATENCIES_LIMIT;
    return count ? latencies[(uint64_t)(part * (double)(count - 1))] : 0;
}

static void print_result(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    qsort(latencies, run.units < LATENCIES_LIMIT ? run.units : LATENCIES_LIMIT, sizeof *latencies, compare);
    for (char *c = run.first_error; *c; c++)
        if (*c < ' ' || *c > '~' || *c == '"' || *c == '\\')
            *c = ' ';
    printf("{\"units\": %llu, \"errors\": %llu, \"first_error\": \"%s\", \"seconds\": %.6f, \"resumed\": %llu, "
           "\"p50_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f, \"version\": \"%s\", \"cipher\": \"%s\", \"group\": \"%s\", "
           "\"ready\": %d}\n",
           (unsigned long long)run.units, (unsigned long long)run.errors, run.first_error,
           (double)(run.end - run.begin) / 1e9, (unsigned long long)run.resumed, percentile(.5), percentile(.99),
           percentile(1), run.version, run.cipher, run.group, ready);
    fflush(stdout);
}

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    struct connection *c = SSL_get_app_data(ssl);
    if (c->session)
        SSL_SESSION_free(c->session);
    c->session = session;
    return 1;
}

/* The client needn't know whom it talks to: chains aren't built. The handshake's signature is verified all the same. */
static int accept_certificate(X509_STORE_CTX *store, void *unused)
{
    (void)store, (void)unused;
    return 1;
}

static void make_context(void)
{
    bool old = !strcmp(options.tls, "1.2");
    int version = old ? TLS1_2_VERSION : TLS1_3_VERSION;
    context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(context, version);
    SSL_CTX_set_max_proto_version(context, version);
    const char *cipher = *options.cipher ? options.cipher
                         : old           ? "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256"
                                         : "TLS_AES_128_GCM_SHA256";
    if (!(old ? SSL_CTX_set_cipher_list(context, cipher) : SSL_CTX_set_ciphersuites(context, cipher)) ||
        !SSL_CTX_set1_groups_list(context, old ? "X25519:P-256" : "X25519")) /* TLS 1.2: P-256 for the certificate, too */
        fail("no cipher %s", cipher);
    SSL_CTX_set_cert_verify_callback(context, accept_certificate, NULL);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set_default_read_buffer_len(context, CHUNK);
    if (resume) {
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(context, keep_session);
    }
}

static void parse_options(int count, char **arguments)
{
    static const struct option known[] = {
        {"port", 1, 0, 'p'}, {"connections", 1, 0, 'c'}, {"seconds", 1, 0, 's'}, {"count", 1, 0, 'n'}, {"tls", 1, 0, 't'},
        {"cipher", 1, 0, 'e'}, {"size", 1, 0, 'b'}, {"wait", 1, 0, 'w'}, {0, 0, 0, 0},
    };
    int option;
    while ((option = getopt_long(count, arguments, "", known, NULL)) != -1) {
        switch (option) {
        case 'p': options.port = atoi(optarg); break;
        case 'c': options.connections = atoi(optarg); break;
        case 's': options.seconds = atof(optarg); break;
        case 'n': options.count = strtoull(optarg, NULL, 10); break;
        case 't': options.tls = optarg; break;
        case 'e': options.cipher = optarg; break;
        case 'b': options.size = strtoull(optarg, NULL, 10); break;
        case 'w': options.wait = atof(optarg); break;
        default: exit(2);
        }
    }
    if (optind != count - 1 || options.port <= 0 || options.connections <= 0)
        fail("usage: load MODE --port N ...");
    options.mode = arguments[optind];
}

static void write_script(void)
{
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (!strcmp(options.mode, modes[i].name)) {
            modes[i].write();
            return;
        }
    fail("no mode %s", options.mode);
}

int main(int count, char **arguments)
{
    parse_options(count, arguments);
    signal(SIGPIPE, SIG_IGN);
    make_pattern();
    memcpy(echo_request, pattern, ECHO_SIZE);
    echo_request[0] = 'E';
    write_script();
    make_context();
    epoll = epoll_create1(0);
    connections = allocate((size_t)options.connections, sizeof *connections);
    for (int i = 0; i < options.connections; i++)
        connections[i].fd = -1;
    latencies = malloc(LATENCIES_LIMIT * sizeof *latencies);
    if (!latencies)
        fail("no memory for latencies");
    if (options.wait > 0)
        wait_for_server();
    prepare();
    printf("ready\n");
    fflush(stdout);
    char line[16];
    while (fgets(line, sizeof line, stdin)) {
        if (run.errors < ERRORS_LIMIT)
            measure();
        print_result();
    }
    return 0;
}
