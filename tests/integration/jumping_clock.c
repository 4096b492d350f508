// A wall clock that jumps, for every process that is started with LD_PRELOAD=jumping_clock.so and JUMPING_CLOCK=FILE.
// FILE holds one int64, by how many seconds the clock is wrong at present; it is mapped, so that a new value holds at once.
// Monotonic clocks are left alone. Waits until a time of the wall clock end when that clock gets there, as the kernel's do.
//   cc -shared -fPIC -O2 -o jumping_clock.so jumping_clock.c
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SLICE_NS 200000000L  // a wait looks so often whether the clock has jumped
#define NS 1000000000L

static volatile const int64_t *wrong_by_s;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("JUMPING_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *mapped = mmap(NULL, sizeof *wrong_by_s, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED) wrong_by_s = mapped;
}

static int64_t offset(void) { return wrong_by_s ? *wrong_by_s : 0; }

static long kernel(long number, long a, long b, long c, long d, long e, long f) {
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

static long told(long result) {
    if (result >= 0 || result < -4095) return result;
    errno = (int)-result;
    return -1;
}

static int is_wall(clockid_t clock) { return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE; }

int clock_gettime(clockid_t clock, struct timespec *now) {
    long result = told(kernel(SYS_clock_gettime, clock, (long)now, 0, 0, 0, 0));
    if (result == 0 && is_wall(clock)) now->tv_sec += offset();
    return (int)result;
}

int gettimeofday(struct timeval *now, void *zone) {
    long result = told(kernel(SYS_gettimeofday, (long)now, (long)zone, 0, 0, 0, 0));
    if (result == 0) now->tv_sec += offset();
    return (int)result;
}

time_t time(time_t *where) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (where) *where = now.tv_sec;
    return now.tv_sec;
}

// The kernel's time at which a slice of the wait until `end` of the jumping clock is over; whether that is its end.
static int slice(const struct timespec *end, struct timespec *until) {
    struct timespec now;
    kernel(SYS_clock_gettime, CLOCK_REALTIME, (long)&now, 0, 0, 0, 0);
    time_t end_s = end->tv_sec < 4 * NS ? end->tv_sec : 4 * NS;  // what is meant for ever is not to overflow
    *until = (struct timespec){end_s - offset(), end->tv_nsec};
    long left_s = until->tv_sec - now.tv_sec;
    if (left_s < 0 || left_s * NS + until->tv_nsec - now.tv_nsec <= SLICE_NS) return 1;
    long ns = now.tv_nsec + SLICE_NS;
    *until = (struct timespec){now.tv_sec + ns / NS, ns % NS};
    return 0;
}

typedef int (*cond_wait_t)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);

int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *end) {
    static cond_wait_t next;
    if (!next) next = (cond_wait_t)dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    struct timespec until;
    if (end->tv_sec < NS) return next(condition, mutex, end);  // a condition of a monotonic clock
    for (;;) {
        int is_end = slice(end, &until);
        int result = next(condition, mutex, &until);
        if (result != ETIMEDOUT || is_end) return result;
    }
}

typedef int (*sem_wait_t)(sem_t *, const struct timespec *);

int sem_timedwait(sem_t *semaphore, const struct timespec *end) {
    static sem_wait_t next;
    if (!next) next = (sem_wait_t)dlsym(RTLD_NEXT, "sem_timedwait");
    struct timespec until;
    for (;;) {
        int is_end = slice(end, &until);
        int result = next(semaphore, &until);
        if (result == 0 || errno != ETIMEDOUT || is_end) return result;
    }
}

// abseil, in gRPC and in Ray, waits for a futex itself.
long syscall(long number, ...) {
    va_list given;
    va_start(given, number);
    long a = va_arg(given, long), b = va_arg(given, long), c = va_arg(given, long), d = va_arg(given, long);
    long e = va_arg(given, long), f = va_arg(given, long);
    va_end(given);
    int is_wait = number == SYS_futex && (b & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET && (b & FUTEX_CLOCK_REALTIME) && d;
    if (!is_wait) return told(kernel(number, a, b, c, d, e, f));
    struct timespec until;
    for (;;) {
        int is_end = slice((const struct timespec *)d, &until);
        long result = kernel(number, a, b, c, (long)&until, e, f);
        if (result != -ETIMEDOUT || is_end) return told(result);
    }
}
