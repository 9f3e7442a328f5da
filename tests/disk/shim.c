/* Records what a process does to the files below one folder, and makes them fail on demand.
 *
 * Loaded with LD_PRELOAD. It is told by the environment:
 *
 *   SHIM_FOLDER   absolute path; other files are left alone
 *   SHIM_TRACE    a file to which each operation is appended, in the order in which they
 *                 take effect, together with what is sent on sockets (see trace.py)
 *   SHIM_CONTROL  a file of 16 bytes that a test changes while the process runs:
 *                 byte 0  1: fsync fails with EIO   2: fsync waits until this changes
 *                 byte 1  1: nothing grows or is written, as on a full disk (ENOSPC)
 *                 byte 2  milliseconds that each fsync takes longer
 *
 * A record is packed: char op; uint64 inode; int64 offset; uint32 length of the first and of
 * the second text; the texts. SQLite's shared memory is mapped and not recorded: after a power
 * failure it is made anew.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

_Static_assert(sizeof(off_t) == 8 && sizeof(off64_t) == 8, "files have 64-bit offsets");

#define MOST_FDS 65536
enum { UNKNOWN, OTHER, TRACKED, FOLDER };

static char folder[PATH_MAX];
static size_t folder_length;
static int trace = -1;
static volatile unsigned char *control;
static unsigned char kinds[MOST_FDS];
static uint64_t inodes[MOST_FDS];
static char *paths[MOST_FDS];
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ((__typeof__(&name))real_##name())
#define FIND(name)                                            \
    static void *real_##name(void) {                          \
        static void *found;                                   \
        if (!found) found = dlsym(RTLD_NEXT, #name);          \
        return found;                                         \
    }

FIND(openat) FIND(close) FIND(write) FIND(writev) FIND(pwrite) FIND(pwritev)
FIND(ftruncate) FIND(truncate) FIND(fsync) FIND(fdatasync) FIND(renameat)
FIND(linkat) FIND(unlinkat) FIND(mkdir) FIND(send)
FIND(sendto) FIND(sendmsg) FIND(sendfile) FIND(copy_file_range) FIND(posix_fallocate)
FIND(fallocate)

static int full(void) { return control && control[1]; }

/* The turn is held by the caller, so records are in the order of their effects. */
static void record(char op, uint64_t inode, int64_t offset, const void *a, size_t la,
                   const void *b, size_t lb) {
    if (trace < 0) return;
    char head[25];
    uint32_t first = la, second = lb;
    head[0] = op;
    memcpy(head + 1, &inode, 8);
    memcpy(head + 9, &offset, 8);
    memcpy(head + 17, &first, 4);
    memcpy(head + 21, &second, 4);
    struct iovec all[3] = {{head, 25}, {(void *)a, la}, {(void *)b, lb}};
    if (syscall(SYS_writev, trace, all, 3) != (long)(25 + la + lb)) abort();
}

__attribute__((constructor)) static void start(void) {
    const char *name = getenv("SHIM_FOLDER");
    if (!name || !realpath(name, folder)) return;
    folder_length = strlen(folder);
    if ((name = getenv("SHIM_TRACE")))
        trace = syscall(SYS_openat, AT_FDCWD, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if ((name = getenv("SHIM_CONTROL"))) {
        int fd = syscall(SYS_openat, AT_FDCWD, name, O_RDONLY | O_CLOEXEC);
        void *map = mmap(NULL, 16, PROT_READ, MAP_SHARED, fd, 0);
        if (map != MAP_FAILED) control = map;
        syscall(SYS_close, fd);
    }
    record('P', getpid(), 0, NULL, 0, NULL, 0);
}


/* The absolute path below the folder, or 0 if it is elsewhere or SQLite's shared memory. */
static int below(const char *path, char *whole) {
    if (!folder_length || !path) return 0;
    if (path[0] == '/') {
        if (strlen(path) >= PATH_MAX) return 0;
        strcpy(whole, path);
    } else {
        if (!getcwd(whole, PATH_MAX) || strlen(whole) + strlen(path) + 2 > PATH_MAX) return 0;
        if (strcmp(path, ".")) strcat(strcat(whole, "/"), path);
    }
    size_t length = strlen(whole);
    if (length > 4 && !strcmp(whole + length - 4, "-shm")) return 0;
    return !strncmp(whole, folder, folder_length) &&
           (whole[folder_length] == '/' || !whole[folder_length]);
}

static int below_at(int at, const char *path, char *whole) {
    if (path[0] == '/' || at == AT_FDCWD) return below(path, whole);
    if (at < 0 || at >= MOST_FDS || kinds[at] != FOLDER) return 0;
    if (strlen(paths[at]) + strlen(path) + 2 > PATH_MAX) return 0;
    strcat(strcat(strcpy(whole, paths[at]), "/"), path);
    return 1;
}

static int tracked(int fd) { return fd >= 0 && fd < MOST_FDS && kinds[fd] == TRACKED; }

static void forget(int fd) {
    if (fd < 0 || fd >= MOST_FDS) return;
    kinds[fd] = UNKNOWN;
    free(paths[fd]);
    paths[fd] = NULL;
}

static int opened(int fd, int flags, const char *whole, int existed) {
    struct stat found;
    if (fd < 0 || fd >= MOST_FDS || fstat(fd, &found)) return fd;
    forget(fd);
    inodes[fd] = found.st_ino;
    if (S_ISDIR(found.st_mode)) {
        kinds[fd] = FOLDER;
        paths[fd] = strdup(whole);
    } else if (S_ISREG(found.st_mode)) {
        kinds[fd] = TRACKED;
        if (!existed) record('C', found.st_ino, 0, whole, strlen(whole), NULL, 0);
        else if (flags & O_TRUNC) record('T', found.st_ino, 0, NULL, 0, NULL, 0);
    }
    return fd;
}

static int open_at(int at, const char *path, int flags, mode_t mode) {
    char whole[PATH_MAX];
    if (!below_at(at, path, whole)) {
        int fd = REAL(openat)(at, path, flags, mode);
        forget(fd);
        return fd;
    }
    pthread_mutex_lock(&turn);
    struct stat before;
    int existed = !lstat(whole, &before);
    int fd = -1;
    if (full() && !existed && (flags & O_CREAT)) errno = ENOSPC;
    else fd = opened(REAL(openat)(at, path, flags, mode), flags, whole, existed);
    pthread_mutex_unlock(&turn);
    return fd;
}

#define MODE(flags)                                           \
    mode_t mode = 0;                                          \
    if ((flags) & (O_CREAT | __O_TMPFILE)) {                  \
        va_list more;                                         \
        va_start(more, flags);                                \
        mode = va_arg(more, mode_t);                          \
        va_end(more);                                         \
    }

int open(const char *path, int flags, ...) { MODE(flags) return open_at(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return open_at(AT_FDCWD, path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { MODE(flags) return open_at(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE(flags) return open_at(at, path, flags, mode); }

int close(int fd) {
    /* Before: the number may be given to another thread at once. The trace stays open. */
    if (fd >= 0 && fd == trace) return 0;
    forget(fd);
    return REAL(close)(fd);
}

/* Sockets: only what is sent to a client, by its port. */
static int client_port(int fd) {
    if (trace < 0) return 0;
    struct sockaddr_in6 peer;
    socklen_t length = sizeof peer;
    if (getpeername(fd, (struct sockaddr *)&peer, &length)) return 0;
    if (peer.sin6_family != AF_INET && peer.sin6_family != AF_INET6) return 0;
    return ntohs(peer.sin6_port);
}

#define SENDING(fd, call, data, length)                                          \
    int port = client_port(fd);                                                  \
    if (!port) return call;                                                      \
    pthread_mutex_lock(&turn);                                                   \
    ssize_t sent = call;                                                         \
    int problem = errno;                                                         \
    if (sent > 0) record('S', port, 0, data, (size_t)sent, NULL, 0);             \
    errno = problem;                                                             \
    pthread_mutex_unlock(&turn);                                                 \
    return sent;

static void *gathered(const struct iovec *parts, int count) {
    size_t length = 0;
    for (int n = 0; n < count; n++) length += parts[n].iov_len;
    char *whole = malloc(length + 1), *at = whole;
    for (int n = 0; n < count; n++) {
        memcpy(at, parts[n].iov_base, parts[n].iov_len);
        at += parts[n].iov_len;
    }
    return whole;
}

ssize_t send(int fd, const void *data, size_t length, int flags) {
    SENDING(fd, REAL(send)(fd, data, length, flags), data, length)
}

ssize_t sendto(int fd, const void *data, size_t length, int flags, const struct sockaddr *to,
               socklen_t size) {
    SENDING(fd, REAL(sendto)(fd, data, length, flags, to, size), data, length)
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    int port = client_port(fd);
    if (!port) return REAL(sendmsg)(fd, message, flags);
    void *data = gathered(message->msg_iov, message->msg_iovlen);
    pthread_mutex_lock(&turn);
    ssize_t sent = REAL(sendmsg)(fd, message, flags);
    int problem = errno;
    if (sent > 0) record('S', port, 0, data, sent, NULL, 0);
    pthread_mutex_unlock(&turn);
    free(data);
    errno = problem;
    return sent;
}

/* Writing. The offset of plain writes is asked for before. */
static ssize_t wrote(int fd, const void *data, size_t length, int64_t offset) {
    pthread_mutex_lock(&turn);
    ssize_t done = -1;
    if (full()) errno = ENOSPC;
    else {
        int64_t at = offset < 0 ? lseek(fd, 0, SEEK_CUR) : offset;
        struct stat now;
        if (offset < 0 && fcntl(fd, F_GETFL) & O_APPEND && !fstat(fd, &now)) at = now.st_size;
        /* Before: what a kill in between leaves out, the next process writes again. */
        record('W', inodes[fd], at, data, length, NULL, 0);
        done = offset < 0 ? REAL(write)(fd, data, length) : REAL(pwrite)(fd, data, length, offset);
        if (trace >= 0 && done != (ssize_t)length) abort();
    }
    int problem = errno;
    pthread_mutex_unlock(&turn);
    errno = problem;
    return done;
}

ssize_t write(int fd, const void *data, size_t length) {
    if (tracked(fd)) return wrote(fd, data, length, -1);
    SENDING(fd, REAL(write)(fd, data, length), data, length)
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) {
    if (tracked(fd)) return wrote(fd, data, length, offset);
    return REAL(pwrite)(fd, data, length, offset);
}
ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
    return pwrite(fd, data, length, offset);
}

static ssize_t wrote_parts(int fd, const struct iovec *parts, int count, int64_t offset) {
    size_t length = 0;
    for (int n = 0; n < count; n++) length += parts[n].iov_len;
    void *data = gathered(parts, count);
    ssize_t done = wrote(fd, data, length, offset);
    int problem = errno;
    free(data);
    errno = problem;
    return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (tracked(fd)) return wrote_parts(fd, parts, count, -1);
    int port = client_port(fd);
    if (!port) return REAL(writev)(fd, parts, count);
    void *data = gathered(parts, count);
    pthread_mutex_lock(&turn);
    ssize_t sent = REAL(writev)(fd, parts, count);
    int problem = errno;
    if (sent > 0) record('S', port, 0, data, sent, NULL, 0);
    pthread_mutex_unlock(&turn);
    free(data);
    errno = problem;
    return sent;
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    if (tracked(fd)) return wrote_parts(fd, parts, count, offset);
    return REAL(pwritev)(fd, parts, count, offset);
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) {
    return pwritev(fd, parts, count, offset);
}

/* Python copies files with these; then it uses write instead. */
ssize_t sendfile(int to, int from, off_t *offset, size_t length) {
    if (!tracked(to)) return REAL(sendfile)(to, from, offset, length);
    errno = EINVAL;
    return -1;
}
ssize_t sendfile64(int to, int from, off64_t *offset, size_t length) {
    return sendfile(to, from, offset, length);
}
ssize_t copy_file_range(int from, off64_t *off_from, int to, off64_t *off_to, size_t length,
                        unsigned flags) {
    if (!tracked(to)) return REAL(copy_file_range)(from, off_from, to, off_to, length, flags);
    errno = EXDEV;
    return -1;
}

static int resized(int fd, int64_t length) {
    pthread_mutex_lock(&turn);
    int failed = -1;
    struct stat now;
    if (full() && !fstat(fd, &now) && length > now.st_size) errno = ENOSPC;
    else {
        record('T', inodes[fd], length, NULL, 0, NULL, 0);
        failed = REAL(ftruncate)(fd, length);
        if (trace >= 0 && failed) abort();
    }
    int problem = errno;
    pthread_mutex_unlock(&turn);
    errno = problem;
    return failed;
}

int ftruncate(int fd, off_t length) {
    return tracked(fd) ? resized(fd, length) : REAL(ftruncate)(fd, length);
}
int ftruncate64(int fd, off64_t length) { return ftruncate(fd, length); }

int truncate(const char *path, off_t length) {
    char whole[PATH_MAX];
    if (!below(path, whole)) return REAL(truncate)(path, length);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    int failed = ftruncate(fd, length), problem = errno;
    close(fd);
    errno = problem;
    return failed;
}
int truncate64(const char *path, off64_t length) { return truncate(path, length); }

int posix_fallocate(int fd, off_t offset, off_t length) {
    if (!tracked(fd)) return REAL(posix_fallocate)(fd, offset, length);
    struct stat now;
    if (fstat(fd, &now)) return errno;
    if (now.st_size >= offset + length) return 0;
    return resized(fd, offset + length) ? errno : 0;
}
int posix_fallocate64(int fd, off64_t offset, off64_t length) {
    return posix_fallocate(fd, offset, length);
}
int fallocate(int fd, int mode, off_t offset, off_t length) {
    if (!tracked(fd)) return REAL(fallocate)(fd, mode, offset, length);
    errno = EOPNOTSUPP;
    return -1;
}
int fallocate64(int fd, int mode, off64_t offset, off64_t length) {
    return fallocate(fd, mode, offset, length);
}

/* Syncing. Only what was written before it begins is durable when it ends. */
static int synced(int fd, int (*real)(int)) {
    const char *path = kinds[fd] == FOLDER ? paths[fd] : "";
    pthread_mutex_lock(&turn);
    record('B', inodes[fd], 0, path, strlen(path), NULL, 0);
    pthread_mutex_unlock(&turn);
    while (control && control[0] == 2) usleep(1000);
    if (control && control[2]) usleep(1000 * control[2]);
    int failed;
    if (control && control[0] == 1) {
        errno = EIO;
        failed = -1;
    } else failed = real(fd);
    int problem = errno;
    pthread_mutex_lock(&turn);
    record(failed ? 'X' : 'E', inodes[fd], 0, path, strlen(path), NULL, 0);
    pthread_mutex_unlock(&turn);
    errno = problem;
    return failed;
}

static int watched(int fd) {
    return fd >= 0 && fd < MOST_FDS && (kinds[fd] == TRACKED || kinds[fd] == FOLDER);
}
int fsync(int fd) { return watched(fd) ? synced(fd, REAL(fsync)) : REAL(fsync)(fd); }
int fdatasync(int fd) { return watched(fd) ? synced(fd, REAL(fdatasync)) : REAL(fdatasync)(fd); }

/* Names. */
#define NAMES(op, call, a, b)                                                     \
    pthread_mutex_lock(&turn);                                                    \
    int failed = call;                                                            \
    int problem = errno;                                                          \
    if (!failed) record(op, 0, 0, a, strlen(a), b, strlen(b));                    \
    pthread_mutex_unlock(&turn);                                                  \
    errno = problem;                                                              \
    return failed;

int renameat(int at, const char *from, int to_at, const char *to) {
    char a[PATH_MAX], b[PATH_MAX];
    if (!below_at(at, from, a) || !below_at(to_at, to, b)) return REAL(renameat)(at, from, to_at, to);
    NAMES('R', REAL(renameat)(at, from, to_at, to), a, b)
}
int rename(const char *from, const char *to) { return renameat(AT_FDCWD, from, AT_FDCWD, to); }

int linkat(int at, const char *from, int to_at, const char *to, int flags) {
    char a[PATH_MAX], b[PATH_MAX];
    if (!below_at(at, from, a) || !below_at(to_at, to, b)) return REAL(linkat)(at, from, to_at, to, flags);
    NAMES('L', REAL(linkat)(at, from, to_at, to, flags), a, b)
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

int unlinkat(int at, const char *path, int flags) {
    char a[PATH_MAX];
    if (!below_at(at, path, a)) return REAL(unlinkat)(at, path, flags);
    NAMES(flags & AT_REMOVEDIR ? 'D' : 'U', REAL(unlinkat)(at, path, flags), a, "")
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdir(const char *path, mode_t mode) {
    char a[PATH_MAX];
    if (!below(path, a)) return REAL(mkdir)(path, mode);
    NAMES('M', REAL(mkdir)(path, mode), a, "")
}
