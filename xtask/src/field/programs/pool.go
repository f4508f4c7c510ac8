// A well-kept client: one transport for all, bodies read and closed. Its concurrency rises for some time, and falls.
// Prints `served N failed N`.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

var (
	lock           sync.Mutex
	served, failed int
	client         = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 30}, Timeout: 10 * time.Second}
)

func work(until time.Time) {
	for time.Now().Before(until) {
		answer, err := client.Get("http://127.0.0.1:" + os.Args[1] + "/")
		if err == nil {
			_, err = io.Copy(io.Discard, answer.Body)
			answer.Body.Close()
		}
		lock.Lock()
		if err == nil {
			served++
		} else {
			failed++
		}
		fmt.Println("served", served, "failed", failed)
		lock.Unlock()
		time.Sleep(330 * time.Millisecond)
	}
}

func main() {
	// Another worker every four seconds; all but the first three end after a minute, and their connections lie idle.
	for worker := 0; worker < 15; worker++ {
		span := 64 * time.Second
		if worker < 3 {
			span = time.Hour
		}
		go work(time.Now().Add(span))
		time.Sleep(4 * time.Second)
	}
	time.Sleep(time.Hour)
}
