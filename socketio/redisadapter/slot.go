package redisadapter

import "strings"

// slots is how many hash slots a Redis Cluster has.
const slots = 1 << 14

// slot is the one that a channel belongs to: CRC-16 (polynomial 0x1021) of its name, or of what
// stands between the first { and the next }.
func slot(channel string) int {
	if _, after, found := strings.Cut(channel, "{"); found {
		if tag, _, found := strings.Cut(after, "}"); found && tag != "" {
			channel = tag
		}
	}
	var sum uint16
	for i := range len(channel) {
		sum ^= uint16(channel[i]) << 8
		for range 8 {
			high := sum&0x8000 != 0
			if sum <<= 1; high {
				sum ^= 0x1021
			}
		}
	}
	return int(sum) % slots
}
