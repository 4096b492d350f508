@echo off
rem From a clone of ray-eval on Windows to the first table: cd ray-eval, then examples\quick_start.bat
rem It starts quick_start.ps1, which says what it does.
powershell -NoProfile -ExecutionPolicy Bypass -File "%~dp0quick_start.ps1" %*
exit /b %ERRORLEVEL%
