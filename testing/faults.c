/* Calls that change files below a folder, one of which fails: loaded before libc (LD_PRELOAD).

   A call is counted where it writes to a file, creates, renames, links or removes one, cuts it,
   puts it on disk or locks it. From the armed one on each meets the fault, or that one alone; or
   one write in so many does, drawn at random. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { NONE, FULL, IO, SHORT, LOCKED, READ_ONLY, KILLED, ONE_IN, STALE, ELSEWHERE, LOST };
enum { CREATES = 1, WRITES = 2, CHANGES = 4, SYNCS = 8, LOCKS = 16 };

static char folder[PATH_MAX], notes[1 << 16];
static long calls, armed;
static unsigned long long drawn;
static int fault = NONE;
static size_t noted;

void faults_arm(const char *below, long nth, int kind) {
  strncpy(folder, below, PATH_MAX - 1);
  calls = noted = 0, drawn = 1, armed = nth, fault = kind, notes[0] = 0;
}

/* Calls that were counted, by name and path, a line each. */
long faults_end(char *into, size_t room) {
  folder[0] = 0;
  strncpy(into, notes, room - 1);
  return calls;
}

/* The error of a call of this sort; 0 where it goes on, -1 where it writes less than asked, -2 where
   it is done and its answer is lost. */
static int meets(const char *name, int sort, const char *path) {
  if (!folder[0] || !path || strncmp(path, folder, strlen(folder))) return 0;
  ++calls;
  if (noted < sizeof notes - PATH_MAX)
    noted += snprintf(notes + noted, sizeof notes - noted, "%s %s\n", name, path);
  if (fault == ONE_IN) {
    drawn = drawn * 6364136223846793005u + 1442695040888963407u;
    return sort == WRITES && (drawn >> 33) % armed == 0 ? EIO : 0;
  }
  if (!armed || calls < armed) return 0;
  switch (fault) {
    case FULL: /* for good, as others fill what is freed */
      if (sort == WRITES && calls == armed) return -1;
      return sort & (CREATES | WRITES) ? ENOSPC : 0;
    case IO:
      return calls == armed && sort != LOCKS ? EIO : 0;
    case SHORT:
      return calls == armed && sort == WRITES ? -1 : 0;
    case LOCKED:
      return sort == LOCKS ? EAGAIN : 0;
    case READ_ONLY:
      return sort == LOCKS ? 0 : EROFS;
    case KILLED:
      _exit(137);
    case STALE: /* a network file system whose server started anew */
      return calls == armed ? ESTALE : 0;
    case ELSEWHERE: /* one in which a folder is another file system */
      return !strcmp(name, "rename") || !strcmp(name, "link") ? EXDEV : 0;
    case LOST: /* one that asks again, as it heard no answer, and finds it done */
      return calls == armed && sort & (CREATES | CHANGES) ? -2 : 0;
  }
  return 0;
}

static const char *of(int number, char *path) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", number);
  ssize_t length = readlink(link, path, PATH_MAX - 1);
  if (length < 0) return NULL;
  path[length] = 0;
  return path;
}

static const char *at(int directory, const char *name, char *path) {
  if (name[0] == '/') return name;
  char base[PATH_MAX];
  if (directory == AT_FDCWD ? !getcwd(base, PATH_MAX) : !of(directory, base)) return NULL;
  return snprintf(path, PATH_MAX, "%s/%s", base, name) < PATH_MAX ? path : NULL;
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = dlsym(RTLD_NEXT, #name)
#define MEETS(name, sort, path)             \
  int failed = meets(name, sort, path);     \
  if (failed > 0) return errno = failed, -1

#define OPENS(name, declared, directory, passed)                        \
  int name declared {                                                   \
    REAL(name);                                                         \
    va_list rest;                                                       \
    va_start(rest, flags);                                              \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
    va_end(rest);                                                       \
    if (flags & (O_WRONLY | O_RDWR | O_CREAT)) {                        \
      char path[PATH_MAX];                                              \
      MEETS("open", CREATES, at(directory, file, path));                \
    }                                                                   \
    return real passed;                                                 \
  }
OPENS(open, (const char *file, int flags, ...), AT_FDCWD, (file, flags, mode))
OPENS(open64, (const char *file, int flags, ...), AT_FDCWD, (file, flags, mode))
OPENS(openat, (int folder, const char *file, int flags, ...), folder, (folder, file, flags, mode))
OPENS(openat64, (int folder, const char *file, int flags, ...), folder, (folder, file, flags, mode))

#define WRITES_TO(name, declared, passed_half, passed)  \
  ssize_t name declared {                               \
    REAL(name);                                         \
    char path[PATH_MAX];                                \
    MEETS("write", WRITES, of(number, path));           \
    return failed ? real passed_half : real passed;     \
  }
WRITES_TO(write, (int number, const void *data, size_t size), (number, data, (size + 1) / 2),
          (number, data, size))
WRITES_TO(pwrite, (int number, const void *data, size_t size, off_t place),
          (number, data, (size + 1) / 2, place), (number, data, size, place))
WRITES_TO(pwrite64, (int number, const void *data, size_t size, off64_t place),
          (number, data, (size + 1) / 2, place), (number, data, size, place))

#define ON_NUMBER(name, said, sort, declared, passed) \
  int name declared {                                 \
    REAL(name);                                       \
    char path[PATH_MAX];                              \
    MEETS(said, sort, of(number, path));              \
    return real passed;                               \
  }
ON_NUMBER(fsync, "sync", SYNCS, (int number), (number))
ON_NUMBER(fdatasync, "sync", SYNCS, (int number), (number))
ON_NUMBER(ftruncate, "cut", CHANGES, (int number, off_t size), (number, size))
ON_NUMBER(ftruncate64, "cut", CHANGES, (int number, off64_t size), (number, size))

#define ON_NAME(name, said, sort, declared, changed, passed) \
  int name declared {                                        \
    REAL(name);                                              \
    char path[PATH_MAX];                                     \
    MEETS(said, sort, at(AT_FDCWD, changed, path));          \
    int ended = real passed;                                 \
    return failed == -2 ? errno = sort & CREATES ? EEXIST : ENOENT, -1 : ended; \
  }
ON_NAME(rename, "rename", CHANGES, (const char *from, const char *to), to, (from, to))
ON_NAME(link, "link", CREATES, (const char *from, const char *to), to, (from, to))
ON_NAME(unlink, "unlink", CHANGES, (const char *file), file, (file))
ON_NAME(mkdir, "mkdir", CREATES, (const char *file, mode_t mode), file, (file, mode))
ON_NAME(rmdir, "rmdir", CHANGES, (const char *file), file, (file))

int unlinkat(int directory, const char *file, int flags) {
  REAL(unlinkat);
  char path[PATH_MAX];
  MEETS("unlink", CHANGES, at(directory, file, path));
  return real(directory, file, flags);
}

#define LOCKS_BY(name)                                                    \
  int name(int number, int command, ...) {                                \
    REAL(name);                                                           \
    va_list rest;                                                         \
    va_start(rest, command);                                              \
    void *argument = va_arg(rest, void *);                                \
    va_end(rest);                                                         \
    if ((command == F_SETLK || command == F_SETLKW) &&                    \
        ((struct flock *)argument)->l_type != F_UNLCK) {                  \
      char path[PATH_MAX];                                                \
      MEETS("lock", LOCKS, of(number, path));                             \
    }                                                                     \
    return real(number, command, argument);                               \
  }
LOCKS_BY(fcntl)
LOCKS_BY(fcntl64)

/* SQLite waits between two tries of a lock, by counts and not by the clock. */
int usleep(useconds_t time) {
  REAL(usleep);
  return fault == LOCKED && folder[0] ? 0 : real(time);
}
int nanosleep(const struct timespec *time, struct timespec *left) {
  REAL(nanosleep);
  return fault == LOCKED && folder[0] ? 0 : real(time, left);
}
