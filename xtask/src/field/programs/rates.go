// A service that asks for the exchange rates again and again, and never closes the body of an answer: its connection
// cannot be used again, and stays open.
package main

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"
)

func main() {
	pause, _ := strconv.Atoi(os.Args[2])
	served, failed := 0, 0
	for turn := 0; turn < 5000; turn++ {
		answer, err := http.Get("http://127.0.0.1:" + os.Args[1] + "/rates")
		if err == nil && answer.StatusCode == 200 {
			served++
		} else {
			failed++
		}
		fmt.Println("served", served, "failed", failed)
		time.Sleep(time.Duration(pause) * time.Millisecond)
	}
}
