/* A disk that fills up or stalls at a word: preloaded into a server, it stands between it and the C library.
 *
 * DISK_FILES says where the files are that are meant, DISK_WORD where the word is: "full", "stall <milliseconds>", or nothing. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static int is_meant(int fd) {
    const char *files = getenv("DISK_FILES");
    char link[64], path[4096];
    if (!files || fd <= 2) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    if (len <= 0) return 0;
    path[len] = 0;
    return strncmp(path, files, strlen(files)) == 0;
}

static void word(char *text, size_t size) {
    const char *file = getenv("DISK_WORD");
    text[0] = 0;
    if (!file) return;
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    ssize_t len = read(fd, text, size - 1);
    text[len > 0 ? len : 0] = 0;
    close(fd);
}

static int is_full(int fd) {
    char text[64];
    if (!is_meant(fd)) return 0;
    word(text, sizeof text);
    return strncmp(text, "full", 4) == 0;
}

static void stall(int fd) {
    char text[64];
    if (!is_meant(fd)) return;
    word(text, sizeof text);
    long millis = strncmp(text, "stall ", 6) == 0 ? atol(text + 6) : 0;
    struct timespec pause = {millis / 1000, millis % 1000 * 1000000};
    if (millis > 0) nanosleep(&pause, NULL);
}

ssize_t write(int fd, const void *bytes, size_t count) {
    ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    if (is_full(fd)) {
        errno = ENOSPC;
        return -1;
    }
    return real(fd, bytes, count);
}

int fdatasync(int fd) {
    int (*real)(int) = dlsym(RTLD_NEXT, "fdatasync");
    stall(fd);
    return real(fd);
}

int fsync(int fd) {
    int (*real)(int) = dlsym(RTLD_NEXT, "fsync");
    stall(fd);
    return real(fd);
}
