/* Preloaded into a worker: shifts its wall clock by the seconds in the file that STREAMS_TEST_CLOCK names.
   The kernel's clock stays as it is. So waits until a time of the shifted clock are shifted back: otherwise those of
   librdkafka would end at once, and all of its threads would be busy. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *shift;
static int (*real_clock_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void open_clock(void) {
    real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    const char *path = getenv("STREAMS_TEST_CLOCK");
    int file = path == NULL ? -1 : open(path, O_RDONLY);
    if (file < 0) return;
    void *mapped = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    if (mapped != MAP_FAILED) shift = mapped;
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    if (real_clock_gettime == NULL) real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real_clock_gettime(clock, now);
    if (result == 0 && shift != NULL && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += *shift;
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec spec;
    if (clock_gettime(CLOCK_REALTIME, &spec) != 0) return -1;
    now->tv_sec = spec.tv_sec;
    now->tv_usec = spec.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *stored) {
    struct timespec spec;
    clock_gettime(CLOCK_REALTIME, &spec);
    if (stored != NULL) *stored = spec.tv_sec;
    return spec.tv_sec;
}

static struct timespec kernel_time(const struct timespec *until) {
    struct timespec found = *until;
    if (shift != NULL) found.tv_sec -= *shift;
    return found;
}

int cnd_timedwait(cnd_t *restrict condition, mtx_t *restrict mutex, const struct timespec *restrict until) {
    static int (*real)(cnd_t *, mtx_t *, const struct timespec *);
    if (real == NULL) real = dlsym(RTLD_NEXT, "cnd_timedwait");
    struct timespec then = kernel_time(until);
    return real(condition, mutex, &then);
}
