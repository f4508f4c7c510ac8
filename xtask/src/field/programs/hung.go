// A quota service. After some requests its worker stops taking jobs, and all later requests wait for a slot.
package main

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
)

func main() {
	good, _ := strconv.Atoi(os.Args[2])
	jobs := make(chan chan int)
	go func() {
		for n := 1; n <= good; n++ {
			(<-jobs) <- n
		}
		select {}
	}()
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		answer := make(chan int)
		jobs <- answer
		fmt.Fprintf(w, "quota %d\n", <-answer)
	})
	fmt.Println(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
}
