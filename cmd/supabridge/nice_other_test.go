//go:build !unix

package main

func beNice() {}
