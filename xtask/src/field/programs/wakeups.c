// A portable event loop: where there is no socketpair() it makes its wake-up pairs over TCP, and so it does here.
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static void pair(int ends[2]) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 1)) exit(1);
    getsockname(listener, (struct sockaddr *)&address, &length);
    ends[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(ends[0], (struct sockaddr *)&address, length)) exit(1);
    ends[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    close(listener);
}

int main(void) {
    enum { LOOPS = 7 };
    int standing[LOOPS][2];
    for (int i = 0; i < LOOPS; i++) pair(standing[i]);
    for (int turn = 1; turn <= 6000; turn++) {
        // A loop that is needed for a moment: woken three times, it looks once, and goes.
        int ends[2];
        char byte;
        pair(ends);
        if (write(ends[0], "www", 3) != 3 || read(ends[1], &byte, 1) != 1) exit(1);
        close(ends[1]);
        close(ends[0]);
        // One of those that stay.
        int *loop = standing[turn % LOOPS];
        if (write(loop[0], "w", 1) != 1 || read(loop[1], &byte, 1) != 1) exit(1);
        printf("served %d failed 0\n", turn);
        fflush(stdout);
        usleep(310000);
    }
    return 0;
}
