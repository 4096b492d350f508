<#
.SYNOPSIS
From a clone of ray-eval on Windows to the first table, in WSL2.

.DESCRIPTION
    cd ray-eval
    powershell -ExecutionPolicy Bypass -File examples\quick_start.ps1

LIBERO's renderer and Ray's workers need Linux, so the evaluator runs in Ubuntu under WSL2 (docs/platforms.md).
Where that is missing, it is installed first; Windows may then want a restart, after which you run this again.
What stands behind the file goes to `ray-eval run`; without anything it runs first_light.
#>
[CmdletBinding()]
param(
    [Parameter(ValueFromRemainingArguments = $true)]
    [string[]] $Word = @('first_light')
)

Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
$distribution = 'Ubuntu-24.04'

if (-not (Get-Command wsl.exe -ErrorAction SilentlyContinue)) {
    Write-Error 'quick start: expected wsl.exe, found none; it comes with Windows 10 of version 2004 and newer'
    exit 2
}

# wsl.exe speaks UTF-16, which leaves a zero behind each letter.
$installed = (& wsl.exe --list --quiet) -replace "`0", ''
if ($installed -notcontains $distribution) {
    Write-Output "quick start: installing $distribution; it asks for a name and a password of yours"
    & wsl.exe --install --distribution $distribution
    if ($LASTEXITCODE -ne 0) {
        Write-Error 'quick start: expected WSL2 to be installed, got an error; run this as administrator'
        exit 2
    }
    Write-Output 'quick start: if Windows asks for a restart, restart, and run this again'
}

$root = Split-Path -Parent $PSScriptRoot
$inUbuntu = @('--distribution', $distribution, '--cd', $root, '--', 'bash')
$prepare = $inUbuntu + @('-c', 'sudo apt-get update -qq && sudo apt-get install -y -qq git make python3-venv')
& wsl.exe @prepare
if ($LASTEXITCODE -ne 0) {
    exit $LASTEXITCODE
}
$run = $inUbuntu + @('examples/quick_start.sh') + $Word
& wsl.exe @run
exit $LASTEXITCODE
