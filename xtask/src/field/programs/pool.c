// A well-kept client with libcurl: one multi handle, which keeps connections and uses them again. The number of
// transfers at a time rises for some time. Prints `served N failed N`.
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static size_t drop(char *data, size_t size, size_t count, void *nothing) {
    (void)data;
    (void)nothing;
    return size * count;
}

int main(int argc, char **argv) {
    char address[64];
    int served = 0, failed = 0, running = 0;
    snprintf(address, sizeof address, "http://127.0.0.1:%s/", argc > 1 ? argv[1] : "80");
    curl_global_init(CURL_GLOBAL_ALL);
    CURLM *multi = curl_multi_init();
    curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, 40L);
    time_t begun = time(NULL);
    for (int round = 0; round < 20000; round++) {
        long passed = time(NULL) - begun;
        int wanted = passed < 55 ? 2 + passed / 5 : 3;
        for (; running < wanted; running++) {
            CURL *easy = curl_easy_init();
            curl_easy_setopt(easy, CURLOPT_URL, address);
            curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, drop);
            curl_multi_add_handle(multi, easy);
        }
        int active, left;
        do {
            curl_multi_perform(multi, &active);
            curl_multi_poll(multi, NULL, 0, 100, NULL);
        } while (active == running);
        for (CURLMsg *done; (done = curl_multi_info_read(multi, &left));) {
            if (done->msg != CURLMSG_DONE) continue;
            if (done->data.result == CURLE_OK) served++; else failed++;
            CURL *easy = done->easy_handle;
            curl_multi_remove_handle(multi, easy);
            curl_easy_cleanup(easy);
            running--;
        }
        printf("served %d failed %d\n", served, failed);
        fflush(stdout);
        nanosleep(&(struct timespec){.tv_nsec = 90000000}, NULL);
    }
    return 0;
}
