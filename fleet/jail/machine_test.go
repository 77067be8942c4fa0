package jail

func machineMain() int { return 98 }
