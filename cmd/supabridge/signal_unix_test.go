//go:build unix

package main

import (
	"context"
	"os"
	"syscall"
	"testing"
)

func TestFirstSignalEndsTheContextAndTheSecondTheProgram(t *testing.T) {
	exited := make(chan int, 1)
	ctx, stop := untilSignal(context.Background(), func(code int) { exited <- code })
	defer stop()
	kill(t, syscall.SIGTERM)
	<-ctx.Done()
	select {
	case code := <-exited:
		t.Fatalf("the first signal exits with %d", code)
	default:
	}
	kill(t, syscall.SIGINT)
	if code := <-exited; code != 130 {
		t.Errorf("the second signal exits with %d, want 130", code)
	}
}

func kill(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(os.Getpid(), s); err != nil {
		t.Fatal(err)
	}
}
