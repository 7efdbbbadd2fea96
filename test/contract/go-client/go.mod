module patina/contract/goclient

go 1.24
