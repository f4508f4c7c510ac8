// A service that opens all connections of its pool at its start, and needs two of them most of the time.
// Prints `served N failed N`.
package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"time"
)

type connection struct {
	net.Conn
	answers *bufio.Reader
}

func ask(c connection) bool {
	if _, err := fmt.Fprintf(c, "how is it?\n"); err != nil {
		return false
	}
	_, err := c.answers.ReadString('\n')
	return err == nil
}

func main() {
	var pool []connection
	served, failed := 0, 0
	for len(pool) < 26 {
		c, err := net.Dial("tcp", "127.0.0.1:"+os.Args[1])
		if err != nil {
			fmt.Println(err)
			return
		}
		pool = append(pool, connection{c, bufio.NewReader(c)})
		ask(pool[len(pool)-1])
	}
	for turn := 0; turn < 9000; turn++ {
		if ask(pool[len(pool)-1-turn%2]) {
			served++
		} else {
			failed++
		}
		fmt.Println("served", served, "failed", failed)
		time.Sleep(410 * time.Millisecond)
	}
}
