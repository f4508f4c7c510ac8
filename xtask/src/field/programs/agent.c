// An agent that starts a helper, and opens its listener without close-on-exec. After some requests it crashes.
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    address.sin_port = htons(atoi(argv[1]));
    int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 64)) {
        perror("agent");
        return 1;
    }
    if (fork() == 0) {
        execlp("sleep", "sleep", "1700", NULL);
        _exit(1);
    }
    for (int request = 0; request < atoi(argv[2]); request++) {
        static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfine\n";
        char text[4096];
        int client = accept(listener, NULL, NULL);
        if (read(client, text, sizeof text) > 0 && write(client, answer, sizeof answer - 1) < 0) perror("agent");
        shutdown(client, SHUT_WR);
        while (read(client, text, sizeof text) > 0) {}
        close(client);
    }
    fprintf(stderr, "agent: segmentation fault\n");
    _exit(139);
}
