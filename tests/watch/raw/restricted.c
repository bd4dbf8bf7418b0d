/* Becomes the program $REAL, without the system calls whose numbers stand in $REFUSE, and as the user $NOBODY if that is set. */
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(int count, char **args) {
  (void)count;
  char *nobody = getenv("NOBODY"), *refuse = getenv("REFUSE");
  if (nobody) {
    int id = atoi(nobody);
    if (setgroups(0, 0) || setgid(id) || setuid(id))
      return 90;
  }
  if (refuse && *refuse) {
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    for (char *number = strtok(refuse, ","); number; number = strtok(0, ",")) {
      struct sock_filter filter[] = {
          BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
          BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, atoi(number), 0, 1),
          BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
          BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      };
      struct sock_fprog program = {4, filter};
      if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0))
        return 91;
    }
  }
  args[0] = getenv("REAL");
  unsetenv("REAL");
  execv(args[0], args);
  perror(args[0]);
  return 92;
}
